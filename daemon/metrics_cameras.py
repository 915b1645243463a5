"""Which metrics of cameras, their windows and rules does Prometheus get?

Knows figures of cameras and the names of metrics; `daemon.metrics` says which rules names follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from daemon.figures import CameraFigures
from pipelines.vitals import CameraState

_Cameras = Mapping[str, CameraFigures]
_Read = Callable[[CameraFigures], float | None]
_Family = CounterMetricFamily | GaugeMetricFamily

_COUNTERS: Final[tuple[tuple[str, str, _Read], ...]] = (
    ("frames", "Sound pictures that came.", lambda c: c.health.frames_in),
    ("frames_damaged", "Pictures that could not be used.", lambda c: c.health.frames_damaged),
    (
        "frames_skipped",
        "Sound pictures passed over undecoded, to catch up.",
        lambda c: c.health.frames_skipped,
    ),
    ("frames_sampled", "Frames put into the ring.", lambda c: c.health.frames_sampled),
    (
        "frames_dropped",
        "Frames that left the ring without any window.",
        lambda c: c.frames_dropped,
    ),
)
_GAUGES: Final[tuple[tuple[str, str, _Read], ...]] = (
    ("frame_age_seconds", "Age of the newest picture.", lambda c: c.health.frame_age_s),
    (
        "input_frames_per_second",
        "Sound pictures a second, over the last ones.",
        lambda c: c.health.fps_in,
    ),
    (
        "sampled_frames_per_second",
        "Frames sampled a second, over the last ones.",
        lambda c: c.health.fps_sampled,
    ),
    (
        "lag_seconds",
        "How late pictures are read; only where they carry time stamps.",
        lambda c: c.health.lag_s,
    ),
    (
        "clock_ahead_seconds",
        "The camera's clock before ours; only where the camera sends it.",
        lambda c: c.health.clock_ahead_s,
    ),
    (
        "blind_ratio",
        "Share of the enabled seconds since the start that no analysed window covered.",
        lambda c: c.windows.blind_share,
    ),
    (
        "blind_recent_ratio",
        "The same of the last five minutes.",
        lambda c: c.windows.blind_share_recent,
    ),
)


def of_cameras(cameras: _Cameras) -> Iterator[Metric]:
    """Each metric once, for all cameras of which it is known."""
    yield from _states(cameras)
    for name, help_text, read in _COUNTERS:
        counter = CounterMetricFamily(f"smolwatch_camera_{name}", help_text, labels=["camera"])
        yield _filled(counter, cameras, read)
    for name, help_text, read in _GAUGES:
        gauge = GaugeMetricFamily(f"smolwatch_camera_{name}", help_text, labels=["camera"])
        yield _filled(gauge, cameras, read)
    yield from _windows(cameras)
    yield from _rules(cameras)


def _filled(family: _Family, cameras: _Cameras, read: _Read) -> Metric:
    for name, camera in cameras.items():
        value = read(camera)
        if value is not None:
            family.add_metric([name], value)
    return family


def _states(cameras: _Cameras) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "smolwatch_camera_state", "1 for the state that it is in.", labels=["camera", "state"]
    )
    reconnects = CounterMetricFamily(
        "smolwatch_camera_reconnects", "Connections lost, by cause.", labels=["camera", "cause"]
    )
    for name, camera in cameras.items():
        for one in get_args(CameraState):
            state.add_metric([name, one], float(camera.health.state == one))
        for cause, count in camera.health.reconnects.items():
            reconnects.add_metric([name, cause], count)
    yield state
    yield reconnects


def _windows(cameras: _Cameras) -> Iterator[Metric]:
    windows = CounterMetricFamily(
        "smolwatch_windows",
        "Windows by what became of them: run, failed, busy (passed while the model was busy or "
        "not there), quiet (nothing moved).",
        labels=["camera", "result"],
    )
    for name, camera in cameras.items():
        counts = camera.windows
        results = {"run": counts.ran, "failed": counts.failed}
        results |= {"busy": counts.skipped, "quiet": counts.gated}
        for result, count in results.items():
            windows.add_metric([name, result], count)
    yield windows


def _rules(cameras: _Cameras) -> Iterator[Metric]:
    labels = ["camera", "rule"]
    is_on = GaugeMetricFamily("smolwatch_rule_on", "1 while its incident is open.", labels=labels)
    armed = GaugeMetricFamily("smolwatch_rule_armed", "1 while it may open.", labels=labels)
    for name, camera in cameras.items():
        for rule in camera.rules:
            is_on.add_metric([name, rule.name], float(rule.on_s is not None))
            armed.add_metric([name, rule.name], float(rule.armed))
    yield is_on
    yield armed
