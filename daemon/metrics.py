"""Which metrics does Prometheus get?

Knows figures and their names; no part of the daemon. Names follow Prometheus' rules: base units,
`_total` for what only grows, and no label whose values are not bounded by the configuration.
See https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, get_args

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from daemon.figures import Figures, Gauges
from daemon.metered import Meters
from daemon.metrics_cameras import of_cameras
from pipelines.model_slot import Phase

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


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
        yield from of_cameras(figures.cameras)
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
    yield CounterMetricFamily(
        "smolwatch_model_busy_seconds", "That the model was at work.", value=figures.busy_s
    )
    yield CounterMetricFamily(
        "smolwatch_window_batches",
        "Times that windows went to the model, those due at once together.",
        value=figures.batches,
    )
    yield _gauge(
        "smolwatch_stride_factor",
        "By how much strides are longer than configured, to spare the machine.",
        figures.stride_factor,
    )
    asked = CounterMetricFamily(
        "smolwatch_requests", "Questions asked, by what became of them.", labels=["result"]
    )
    for result in ("answered", "failed", "refused", "expired"):
        asked.add_metric([result], figures.requests.get(result, 0))
    yield asked
    yield _gauge(
        "smolwatch_requests_waiting", "Questions that wait for the model.", figures.requests_waiting
    )


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
            "at once, or no room beside what is worth more), deleted to make room.",
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
    trouble = GaugeMetricFamily(
        "smolwatch_disk_trouble",
        "1 while nothing can be written: by the store, for pictures (media), of the log of events.",
        labels=["part"],
    )
    for part in ("store", "media", "events"):
        trouble.add_metric([part], float(part in figures.troubles))
    yield trouble
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
