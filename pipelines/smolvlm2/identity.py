"""What is known of a model before its weights are read, or are there?

Knows names and small files; no tensors and no network.
"""

from __future__ import annotations

from pathlib import Path

from pipelines.errors import ModelError
from pipelines.smolvlm2.files import fingerprint, read_json
from pipelines.smolvlm2.presets import BUNDLED_DIR, PRESETS

USUAL_EDGE_PX = 512  # where nothing is known: a frame of another size only costs a resize


def identify(name_or_dir: str) -> tuple[str, int]:
    """The model id, and the long edge of frames in pixels, as the loaded model will tell them.

    A directory that is not there (yet) is known by its name only. Raises nothing.
    """
    if name_or_dir in PRESETS:
        preset = PRESETS[name_or_dir]
        return preset.model_id, preset.frame_edge_px
    bundled = name_or_dir == "bundled"
    directory = BUNDLED_DIR if bundled else Path(name_or_dir).expanduser()
    name = "bundled" if bundled else directory.resolve().name
    try:
        return f"{name}@{fingerprint(directory)}", _frame_edge_px(directory)
    except (ModelError, OSError):
        return name, USUAL_EDGE_PX


def _frame_edge_px(directory: Path) -> int:
    vision = read_json(directory / "config.json").get("vision_config")
    found = vision.get("image_size") if isinstance(vision, dict) else None
    return found if isinstance(found, int) and found > 0 else USUAL_EDGE_PX
