"""Is a picture told of, and only one that may be taken?"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from daemon.desk_services import NoPicture, Photographer
from daemon.mqtt.topics import Topics
from pipelines.ring import FrameRing
from pipelines.sources import Picture
from tests.cameras import worker_of
from tests.fakes import FakeClock, FakeSource

STILL = Picture(np.zeros((12, 16, 3), np.uint8), None)


def test_from_the_moment_it_is_switched_off_no_picture_is_taken() -> None:
    ring, found = FrameRing(8), list[str]()

    def script() -> Iterator[Picture]:
        yield STILL
        found.append(photographer.snapshot("door")["camera"])
        capture.enable(enabled=False)  # its thread reads a picture: that may take seconds
        assert capture.health().state == "online"
        with pytest.raises(NoPicture, match="door is switched off: switch it on first"):
            photographer.snapshot("door")
        found.append("refused")
        yield STILL

    capture = worker_of(FakeSource(script(), FakeClock()), FakeClock(), ring)
    photographer = Photographer(Topics(), {"door": capture}, {"door": ring}, {}, None)
    with pytest.raises(NoPicture, match="door has no picture of now: it has sent no picture yet"):
        photographer.snapshot("door")
    capture.run_once(threading.Event())
    assert found == ["door", "refused"]
