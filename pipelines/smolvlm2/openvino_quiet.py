"""How is OpenVINO imported without its maker being told?

Knows nothing else. Its converter and NNCF report each use to Google Analytics through the package
`openvino_telemetry`, unasked; both do without it where it cannot be imported. All of smolwatch
takes OpenVINO from here, so that this is so before it is imported.
"""

from __future__ import annotations

import sys

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402 - see above

__all__ = ["ov"]
