"""Is the daemon in this container well?

Knows its `/healthz` on this machine, and no configuration: `python -m daemon.healthcheck` is what
the images' HEALTHCHECK runs. With or without encryption: whose certificate it is, is no question
here.
"""

from __future__ import annotations

import http.client
import ssl
import sys
from contextlib import closing
from typing import Final

from daemon.config_http import PORT

_PATIENCE_S: Final = 8.0


def is_well(port: int = PORT) -> bool:
    """Whether it answers that all its parts make progress."""
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    links = (
        http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S),
        http.client.HTTPSConnection("127.0.0.1", port, timeout=_PATIENCE_S, context=unchecked),
    )
    for link in links:
        with closing(link):
            try:
                link.request("GET", "/healthz")
                return link.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                continue
    return False


if __name__ == "__main__":
    sys.exit(0 if is_well() else 1)
