"""Which metrics does Prometheus get?

Knows figures and their names; no part of the daemon. Names follow Prometheus' rules: base units,
`_total` for what only grows, and no label whose values are not bounded by the configuration.
See https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, get_args

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from daemon.figures import CameraFigures, Figures, Gauges
from daemon.metered import Meters
from pipelines.model_slot import Phase
from pipelines.vitals import CameraState

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_Cameras = Mapping[str, CameraFigures]


class Exposition:
    """All metrics as text. Raises nothing; from any thread."""

    def __init__(self, gauges: Gauges, meters: Meters) -> None:
        self._meters = meters
        self._read = CollectorRegistry()
        self._read.register(_FiguresCollector(gauges))
        ProcessCollector(registry=self._read)  # CPU, memory, open files, start time

    def text(self) -> bytes:
        """In Prometheus' text format, as of now."""
        return generate_latest(self._read) + generate_latest(self._meters.registry)


class _FiguresCollector(Collector):
    """Reads the figures at each scrape, once for all of them."""

    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def describe(self) -> list[Metric]:
        """Nothing in advance: registering must not read any part."""
        return []

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        figures = self._gauges.read()
        yield from _process(figures)
        yield from _captures(figures.cameras)
        yield from _windows(figures.cameras)
        yield from _rules(figures.cameras)
        yield from _outbox(figures)
        yield from _disk(figures)


def _process(figures: Figures) -> Iterator[Metric]:
    yield InfoMetricFamily(
        "smolwatch_build",
        "Version and model.",
        {"version": figures.version, "model": figures.model_id},
    )
    yield _gauge("smolwatch_uptime_seconds", "Since the start.", figures.uptime_s)
    yield _gauge("smolwatch_threads", "Threads of Python's that run.", figures.threads)
    state = GaugeMetricFamily(
        "smolwatch_model_state", "1 for the state that the model is in.", labels=["state"]
    )
    for phase in get_args(Phase):
        state.add_metric([phase], float(figures.model.phase == phase))
    yield state
    asked = CounterMetricFamily(
        "smolwatch_requests", "Questions asked, by what became of them.", labels=["result"]
    )
    for result in ("answered", "failed", "refused", "expired"):
        asked.add_metric([result], figures.requests.get(result, 0))
    yield asked
    yield _gauge(
        "smolwatch_requests_waiting", "Questions that wait for the model.", figures.requests_waiting
    )


def _captures(cameras: _Cameras) -> Iterator[Metric]:
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
    health = {name: camera.health for name, camera in cameras.items()}
    for metric, help_text, counts in (
        ("frames", "Sound pictures that came.", {n: h.frames_in for n, h in health.items()}),
        (
            "frames_damaged",
            "Pictures that could not be used.",
            {n: h.frames_damaged for n, h in health.items()},
        ),
        (
            "frames_skipped",
            "Sound pictures passed over undecoded, to catch up.",
            {n: h.frames_skipped for n, h in health.items()},
        ),
        (
            "frames_sampled",
            "Frames put into the ring.",
            {n: h.frames_sampled for n, h in health.items()},
        ),
        (
            "frames_dropped",
            "Frames that left the ring without any window.",
            {n: c.frames_dropped for n, c in cameras.items()},
        ),
    ):
        yield _counters(f"smolwatch_camera_{metric}", help_text, counts)
    for metric, help_text, values in (
        (
            "frame_age_seconds",
            "Age of the newest picture.",
            {n: h.frame_age_s for n, h in health.items()},
        ),
        (
            "input_frames_per_second",
            "Sound pictures a second, over the last ones.",
            {n: h.fps_in for n, h in health.items()},
        ),
        (
            "sampled_frames_per_second",
            "Frames sampled a second, over the last ones.",
            {n: h.fps_sampled for n, h in health.items()},
        ),
        (
            "lag_seconds",
            "How late pictures are read; only where they carry time stamps.",
            {n: h.lag_s for n, h in health.items()},
        ),
        (
            "clock_ahead_seconds",
            "The camera's clock before ours; only where the camera sends it.",
            {n: h.clock_ahead_s for n, h in health.items()},
        ),
    ):
        yield _gauges(f"smolwatch_camera_{metric}", help_text, values)


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
    yield _gauges(
        "smolwatch_camera_blind_ratio",
        "Share of the enabled seconds since the start that no analysed window covered.",
        {name: camera.windows.blind_share for name, camera in cameras.items()},
    )
    yield _gauges(
        "smolwatch_camera_blind_recent_ratio",
        "The same of the last five minutes.",
        {name: camera.windows.blind_share_recent for name, camera in cameras.items()},
    )


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


def _outbox(figures: Figures) -> Iterator[Metric]:
    link = figures.link
    if link is None:
        return
    for name, help_text, value in (
        ("smolwatch_mqtt_connected", "1 while the broker has us.", float(link.connected)),
        ("smolwatch_outbox_messages", "Messages that wait for the broker.", link.pending),
        ("smolwatch_outbox_oldest_seconds", "How long the oldest has waited.", link.oldest_s),
        (
            "smolwatch_outbox_memory_messages",
            "Of those that wait, how many a crash would lose.",
            link.in_memory,
        ),
        ("smolwatch_outbox_dead_letters", "Messages refused and set aside.", link.dead_letters),
    ):
        yield _gauge(name, help_text, value)
    for name, help_text, count in (
        ("smolwatch_outbox_published", "Messages that the broker acknowledged.", link.published),
        ("smolwatch_outbox_refused", "Messages that it refused, or too large.", link.refused),
        ("smolwatch_outbox_dropped", "Messages that gave way, or were lost.", link.dropped),
        (
            "smolwatch_outbox_dropped_alerts",
            "Alerts that were lost: this is never to happen.",
            link.dropped_alerts,
        ),
    ):
        yield CounterMetricFamily(name, help_text, value=count)


def _disk(figures: Figures) -> Iterator[Metric]:
    if figures.media is not None:
        media = CounterMetricFamily(
            "smolwatch_media_files",
            "Pictures and clips of alerts: snapshots and clips written, failed, dropped (too many "
            "at once), deleted to make room.",
            labels=["result"],
        )
        for result in ("snapshots", "clips", "failed", "dropped", "deleted"):
            media.add_metric([result], figures.media.get(result, 0))
        yield media
    if figures.store_bytes is not None:
        yield _gauge("smolwatch_store_size_bytes", "The database's files.", figures.store_bytes)
        yield CounterMetricFamily(
            "smolwatch_store_lost_writes", "Writes that failed.", value=figures.store_lost
        )
    free = GaugeMetricFamily(
        "smolwatch_disk_free_bytes", "Free on the disk of that folder.", labels=["folder"]
    )
    size = GaugeMetricFamily(
        "smolwatch_disk_size_bytes", "Size of the disk of that folder.", labels=["folder"]
    )
    for name, disk in figures.disks.items():
        free.add_metric([name], disk.free_bytes)
        size.add_metric([name], disk.size_bytes)
    yield free
    yield size


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value=value)


def _gauges(name: str, help_text: str, values: Mapping[str, float | None]) -> Metric:
    """One for each camera of which it is known."""
    family = GaugeMetricFamily(name, help_text, labels=["camera"])
    for camera, value in values.items():
        if value is not None:
            family.add_metric([camera], value)
    return family


def _counters(name: str, help_text: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, help_text, labels=["camera"])
    for camera, count in counts.items():
        family.add_metric([camera], count)
    return family
