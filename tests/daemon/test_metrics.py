"""Are the metrics what Prometheus expects, and do they say what happened?"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client import Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from daemon.figures import CameraFigures, Disk, Figures, Gauges, RuleFigures, not_ready, problem_of
from daemon.metered import MeteredSink, Meters
from daemon.metrics import Exposition
from daemon.mqtt.options import MqttOptions
from daemon.mqtt.payloads import snapshot
from daemon.mqtt.records import PublisherHealth
from daemon.mqtt.topics import Topics
from daemon.outbox import Outbox
from daemon.publisher import Publisher
from pipelines.clock import SystemClock
from pipelines.errors import RequestRefused
from pipelines.model_slot import ModelState
from pipelines.types import Observation, Outcome, Timings
from pipelines.vitals import CameraHealth
from pipelines.windows import WindowCounts
from tests.daemon.events import MATCH
from tests.fakes import FakeClock, FakeSink
from tests.mosquitto import Mosquitto, wait_until

BASE_UNITS = ("_seconds", "_bytes", "_ratio", "_per_second")


class FixedGauges(Gauges):
    """As a scrape finds it at one moment."""

    def __init__(self, figures: Figures) -> None:
        super().__init__(FakeClock())
        self.figures = figures

    def read(self) -> Figures:
        return self.figures


def camera(name: str, **changes: object) -> CameraFigures:
    told: dict[str, object] = {
        "camera": name, "url": "rtsp://***@x/", "state": "online", "cause": None, "message": None,
        "since_s": 0.0, "frame_age_s": 0.25, "width_px": 640, "height_px": 360, "fps_in": 15.0,
        "fps_sampled": 1.0, "frames_in": 900, "frames_damaged": 2, "frames_sampled": 60,
        "reconnects": {"stalled": 3}, "frames_skipped": 7, "lag_s": 0.5, "clock_ahead_s": -2.0,
    }  # fmt: skip
    return CameraFigures(
        health=CameraHealth(**{**told, **changes}),  # type: ignore[arg-type]
        windows=WindowCounts(40, 30, 1, 5, 4, blind_share=0.25, blind_share_recent=0.5),
        frames_dropped=8,
        latencies_ms=(100.0, 200.0, 900.0),
        rules=(RuleFigures("dog", armed=True, on_s=12.0), RuleFigures("cat", False, None)),
    )


LINK = PublisherHealth(
    connected=True, protocol="5", problem=None, pending=4, oldest_s=9.5, published=100, refused=2,
    dropped=3, dropped_alerts=0, dead_letters=1, in_memory=0, on_disk=True, publish_ms_p50=12.0,
    heartbeat_s=0.0,
)  # fmt: skip


def figures(**changes: object) -> Figures:
    told: dict[str, object] = {
        "wall_time": 1.7e9, "uptime_s": 60.0, "version": "1.2.3", "model_id": "fake@0",
        "model": ModelState("ready"), "cameras": {"porch": camera("porch")}, "events": 5,
        "batches": 10, "busy_s": 12.5, "stride_factor": 1, "slowed": None,
        "link": LINK, "requests": {"answered": 6}, "requests_waiting": 1,
        "media": {"snapshots": 2, "clips": 1, "deleted": 9}, "store_bytes": 1000, "store_lost": 0,
            "troubles": {},
        "disks": {"store": Disk(50, 100)}, "threads": 12, "memory_bytes": 1,
    }  # fmt: skip
    return Figures(**{**told, **changes})  # type: ignore[arg-type]


def measured() -> Meters:
    meters, sink = Meters(), FakeSink()
    seen = Observation(
        "porch",
        1,
        0.0,
        1.0,
        1.7e9,
        {},
        "words",
        Timings(20.0, 300.0, 100.0, 2000.0, 1, 2),
        "m",
        "p",
    )
    MeteredSink(sink, meters).publish(Outcome("porch", seen, {}, (MATCH,), None))
    assert sink.events == [MATCH]
    meters.published.observe(0.02)
    return meters


def families(told: Figures | None = None) -> dict[str, Metric]:
    text = Exposition(FixedGauges(told or figures()), measured()).text().decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(found: Mapping[str, Metric], name: str, **labels: str) -> float:
    family = found[name.removesuffix("_total").removesuffix("_sum").removesuffix("_count")]
    [sample] = [s for s in family.samples if s.name == name and labels.items() <= s.labels.items()]
    return sample.value


def test_figures_are_told_in_base_units() -> None:
    found = families()
    for name, labels, wanted in (
        ("smolwatch_camera_frames_total", {}, 900),
        ("smolwatch_camera_reconnects_total", {"cause": "stalled"}, 3),
        ("smolwatch_camera_state", {"state": "online"}, 1),
        ("smolwatch_camera_state", {"state": "offline"}, 0),
        ("smolwatch_camera_lag_seconds", {}, 0.5),
        ("smolwatch_windows_total", {"result": "busy"}, 5),
        ("smolwatch_windows_total", {"result": "quiet"}, 4),
        ("smolwatch_camera_blind_ratio", {}, 0.25),
        ("smolwatch_camera_blind_recent_ratio", {}, 0.5),
        ("smolwatch_rule_on", {"rule": "dog"}, 1),
        ("smolwatch_rule_armed", {"rule": "cat"}, 0),
        ("smolwatch_outbox_messages", {}, 4),
        ("smolwatch_outbox_published_total", {}, 100),
        ("smolwatch_media_files_total", {"result": "deleted"}, 9),
        ("smolwatch_disk_free_bytes", {"folder": "store"}, 50),
        ("smolwatch_requests_total", {"result": "answered"}, 6),
        ("smolwatch_model_busy_seconds_total", {}, 12.5),
        ("smolwatch_window_batches_total", {}, 10),
        ("smolwatch_stride_factor", {}, 1),
        ("smolwatch_model_state", {"state": "ready"}, 1),
        ("smolwatch_build_info", {"version": "1.2.3", "model": "fake@0"}, 1),
        ("smolwatch_window_step_seconds_sum", {"camera": "porch", "step": "decode"}, 2.0),
        ("smolwatch_window_step_seconds_sum", {"camera": "porch", "step": "queue"}, 0.02),
        ("smolwatch_window_seconds_sum", {"camera": "porch"}, 2.42),
        ("smolwatch_window_frames_total", {"camera": "porch", "result": "encoded"}, 1),
        ("smolwatch_window_frames_total", {"camera": "porch", "result": "reused"}, 2),
        ("smolwatch_publish_seconds_count", {}, 1),
        ("smolwatch_events_total", {"type": "rule_match", "rule": "package_delivered"}, 1),
    ):
        assert value(found, name, **labels) == pytest.approx(wanted), name
    assert value(found, "process_open_fds") > 0


def test_what_is_not_known_is_left_out_and_what_is_not_there_too() -> None:
    quiet = camera("porch", lag_s=None, frame_age_s=None, clock_ahead_s=None)
    found = families(figures(cameras={"porch": quiet}, link=None, media=None, store_bytes=None))
    assert found["smolwatch_camera_lag_seconds"].samples == []
    for gone in ("smolwatch_mqtt_connected", "smolwatch_media_files", "smolwatch_store_size_bytes"):
        assert gone not in found


def test_names_follow_prometheus_rules() -> None:
    for name, family in families().items():
        assert re.fullmatch(r"(smolwatch|process)_[a-z_]+", name), name
        assert family.documentation.endswith((".", "happen.")), f"{name}: no help"
        assert not re.search(r"_(ms|milliseconds|percent|pct|kb|mb)\b", name), name
        if family.type == "histogram":
            assert name.endswith(BASE_UNITS), name
        assert family.type in ("gauge", "counter", "histogram"), name
    text = Exposition(FixedGauges(figures()), measured()).text().decode()
    counters = re.findall(r"^# TYPE (\S+) counter", text, re.MULTILINE)
    assert counters
    assert all(name.endswith("_total") for name in counters)
    assert "_created" not in text


def test_a_first_event_is_an_increase() -> None:
    meters = Meters()
    meters.expect({"porch": ["dog"]})
    text = generate_latest(meters.registry).decode()
    assert 'smolwatch_events_total{camera="porch",rule="dog",type="rule_match"} 0.0' in text


def test_labels_are_names_of_the_configuration_and_words_of_ours() -> None:
    labels = {label for family in families().values() for s in family.samples for label in s.labels}
    assert labels == {
        "camera", "cause", "folder", "le", "model", "part", "result", "rule", "state", "step",
        "type", "version",
    }  # fmt: skip


def test_what_is_wrong_is_said_in_words() -> None:
    assert problem_of(figures(link=None)) is None
    assert problem_of(figures(link=None, slowed="82 C (limit 80)")) == "82 C (limit 80)"
    assert "dead-letters" in str(problem_of(figures()))
    assert "no memory" in str(problem_of(figures(model=ModelState("failed", "no memory"))))
    away = camera("porch", state="offline", message="no connection")
    assert not_ready(figures(cameras={"porch": away}, model=ModelState("downloading", "43%"))) == [
        "the model is not there: downloading 43%",
        "camera porch is offline: no connection",
    ]
    assert not_ready(figures(cameras={"porch": camera("porch", state="disabled")})) == []


def test_before_the_parts_are_there_it_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(RequestRefused, match="starting"):
        Gauges(FakeClock()).read()


def test_the_way_to_the_broker_is_measured(broker: Mosquitto) -> None:
    took_s: list[float] = []
    outbox, stop = Outbox(SystemClock()), threading.Event()
    options = MqttOptions("127.0.0.1", broker.port)
    publisher = Publisher(outbox, options, SystemClock(), measured=took_s.append)
    thread = threading.Thread(target=publisher.run, args=(stop,))
    thread.start()
    outbox.put(snapshot(Topics("smolwatch"), "porch", b"jpeg"))
    wait_until(lambda: took_s, "an acknowledgement")
    stop.set()
    thread.join(20)
    assert 0 < took_s[0] < 60
