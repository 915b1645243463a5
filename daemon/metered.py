"""How long does each step from a picture to the broker take, and what is told?

Knows histograms and counters of prometheus_client; nothing of how they are read (`daemon.metrics`).
Labels are names of the configuration and words of ours, so their number is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

from pipelines.inference import Sink
from pipelines.types import Observation, Outcome

# From a GPU's milliseconds to a small board's minute.
STEP_BUCKETS_S: Final = (
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
# From a broker on this machine to one that was away for hours.
PUBLISH_BUCKETS_S: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0,
)  # fmt: skip


class Meters:
    """What is measured as it happens. Thread-safe."""

    def __init__(self) -> None:
        # Otherwise each has a series more, which Prometheus does not use.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry(auto_describe=True)
        self.steps = Histogram(
            "smolwatch_window_step_seconds",
            "Time that one look took, by step: queue (newest frame captured to inference begun), "
            "encode, prefill, decode (only looks that make words).",
            ("camera", "step"),
            buckets=STEP_BUCKETS_S,
            registry=self.registry,
        )
        self.total = Histogram(
            "smolwatch_window_seconds",
            "Time from the newest frame captured to the look's answers or words made.",
            ("camera",),
            buckets=STEP_BUCKETS_S,
            registry=self.registry,
        )
        self.published = Histogram(
            "smolwatch_publish_seconds",
            "Time from a message put into the outbox to its acknowledgement by the broker.",
            buckets=PUBLISH_BUCKETS_S,
            registry=self.registry,
        )
        self.events = Counter(
            "smolwatch_events",
            "Events told, by type; rule is empty for descriptions.",
            ("camera", "rule", "type"),
            registry=self.registry,
        )

        self.frames = Counter(
            "smolwatch_window_frames",
            "New frames in windows: encoded, or reused (they took the features of one before; "
            "model.reuse_unchanged).",
            ("camera", "result"),
            registry=self.registry,
        )

    def expect(self, rules: Mapping[str, Sequence[str]]) -> None:
        """Count from zero what cameras and their rules may tell: a first event is an increase."""
        for camera, names in rules.items():
            self.events.labels(camera, "", "describe")
            for rule in names:
                for kind in ("rule_match", "rule_update", "rule_clear"):
                    self.events.labels(camera, rule, kind)

    def look(self, seen: Observation) -> None:
        """Measure one look at a camera."""
        spent = seen.timings
        steps = {"queue": spent.queue_ms, "encode": spent.encode_ms, "prefill": spent.prefill_ms}
        if seen.description is not None:
            steps["decode"] = spent.decode_ms
        for step, spent_ms in steps.items():
            self.steps.labels(seen.camera, step).observe(max(0.0, spent_ms) / 1e3)
        self.total.labels(seen.camera).observe(max(0.0, spent.total_ms) / 1e3)
        self.frames.labels(seen.camera, "encoded").inc(spent.frames_encoded)
        self.frames.labels(seen.camera, "reused").inc(spent.frames_reused)


class MeteredSink:
    """A sink before the sink: what passes is measured."""

    def __init__(self, sink: Sink, meters: Meters) -> None:
        self._sink = sink
        self._meters = meters

    def publish(self, outcome: Outcome) -> None:
        """Hand it on, and then measure it: an alert does not wait for its figures."""
        self._sink.publish(outcome)
        if outcome.observation is not None:
            self._meters.look(outcome.observation)
        for event in outcome.events:
            self._meters.events.labels(event.camera, event.rule or "", event.event_type).inc()
