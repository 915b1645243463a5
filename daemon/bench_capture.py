"""What does watching a camera cost, against reading every frame of it?

Knows the capture path and OpenCV; no network, so that only work is measured and no waiting. Each
measurement has a process of its own, and counts all its threads' CPU time but for the imports.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np

from daemon import logs
from pipelines.capture import CaptureWorker
from pipelines.clock import SystemClock
from pipelines.ring import FrameRing
from pipelines.sources import DecodeMode, SourceUrl, open_source

FPS = 15
KEYFRAME_EVERY_S = 2
RATES = (0.5, 1.0, 2.0, 5.0)  # samples a second
EDGE_PX = 512  # to which SmolVLM2's 256m and 500m have frames scaled
SIZES = {"1080p15": (1920, 1080), "4k15": (3840, 2160)}  # width, height
_HOUR_S = 3600.0
_SPEED_PX = 6  # of what moves, a frame


@dataclass(frozen=True, slots=True)
class Cost:
    """What one way of reading one camera costs."""

    camera: str
    reader: str  # `opencv`, or the samples a second, or `keyframes`
    cpu_s_per_hour: float  # CPU seconds for an hour of video
    of_opencv: float  # share of what OpenCV took in the same run


def bench_capture(seconds: int, cameras: Mapping[str, tuple[int, int]] = SIZES) -> Iterator[Cost]:
    """Each camera's costs, OpenCV's first, over a drawn H.264 clip of so many seconds.

    `cameras`: name -> width and height in pixels, both divisible by 40.
    """
    with tempfile.TemporaryDirectory(prefix="smolwatch-bench-") as folder:
        for camera, size_px in cameras.items():
            clip = Path(folder) / f"{camera}.mp4"
            write_clip(clip, size_px, seconds)
            every_frame_s = _in_a_process(read_with_opencv, clip)
            ways: list[tuple[str, float, DecodeMode]] = [
                ("keyframes", 1.0 / KEYFRAME_EVERY_S, "keyframes"),
                *((f"{rate:g}/s", rate, "auto") for rate in RATES),
            ]
            per_hour = _HOUR_S / seconds
            yield Cost(camera, "opencv", every_frame_s * per_hour, 1.0)
            for name, rate, mode in ways:
                cpu_s = _in_a_process(watch, clip, rate, mode)
                yield Cost(camera, name, cpu_s * per_hour, cpu_s / every_frame_s)


def as_json(costs: list[Cost]) -> dict[str, object]:
    """What `--json` prints."""
    rounded = [
        asdict(cost)
        | {"cpu_s_per_hour": round(cost.cpu_s_per_hour, 1), "of_opencv": round(cost.of_opencv, 3)}
        for cost in costs
    ]
    return {"fps": FPS, "keyframe_every_s": KEYFRAME_EVERY_S, "edge_px": EDGE_PX, "costs": rounded}


def write_clip(path: Path, size_px: tuple[int, int], seconds: int) -> None:
    """Write an MP4 as a camera would send it: a still scene with grain, and something that moves.

    H.264 without B-frames, a keyframe every `KEYFRAME_EVERY_S`.
    """
    width_px, height_px = size_px
    rng = np.random.default_rng(1)
    coarse = rng.integers(40, 200, (height_px // 40, width_px // 40, 3), np.uint8)
    scene = cv2.resize(coarse, size_px, interpolation=cv2.INTER_CUBIC)
    grain = [rng.integers(0, 12, scene.shape, np.uint8) for _ in range(3)]
    options = {"preset": "ultrafast", "tune": "zerolatency", "bf": "0", "sc_threshold": "0"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
        stream.gop_size = FPS * KEYFRAME_EVERY_S
        for number in range(seconds * FPS):
            image = np.asarray(cv2.add(scene, grain[number % len(grain)]), np.uint8)
            x = number * _SPEED_PX % (width_px - width_px // 8)
            image[height_px // 2 :, x : x + width_px // 8] = scene[
                : height_px // 2, : width_px // 8
            ]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def read_with_opencv(path: Path) -> float:
    """CPU seconds in which OpenCV, as it comes, gives every frame of `path`."""
    began_s = _cpu_s()
    capture = cv2.VideoCapture(str(path))
    while capture.read()[0]:
        pass
    capture.release()
    return _cpu_s() - began_s


def watch(path: Path, rate: float, mode: DecodeMode) -> float:
    """CPU seconds in which the capture thread brings `rate` frames a second into a ring."""
    clock = SystemClock()
    source = open_source(SourceUrl(str(path)), clock, decode=mode, realtime=False)
    worker = CaptureWorker(
        "bench", source, FrameRing(12), clock, sample_interval_s=1.0 / rate, frame_edge_px=EDGE_PX
    )
    began_s = _cpu_s()
    worker.run(threading.Event())
    return _cpu_s() - began_s


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _in_a_process(measure: Callable[..., float], *args: object) -> float:
    spawn = multiprocessing.get_context("spawn")
    quiet = partial(logs.setup, level="warning")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=quiet) as pool:
        return pool.submit(measure, *args).result()
