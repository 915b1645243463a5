"""Does the benchmark send what it says through a real broker, and say which?"""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from daemon import bench_mqtt
from daemon.cli import app
from daemon.mqtt.reasons import BrokerError


@pytest.mark.parametrize("broker", ["mosquitto", "embedded"])
def test_both_ways_are_measured_in_one_run(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if broker == "embedded":
        monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    elif shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin") is None:
        pytest.skip("mosquitto is not installed: apt install mosquitto")
    result = CliRunner().invoke(app, ["bench", "mqtt", "--events", "50", "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout.splitlines()[-1])
    assert (told["broker"], told["events"]) == (broker, 50)
    for way in ("smolwatch", "bare"):
        assert 0 < told[way]["p50_ms"] <= told[way]["p99_ms"]
    ratio = told["smolwatch"]["events_per_s"] / told["bare"]["events_per_s"]
    assert told["ratios"]["events_per_s"] == pytest.approx(ratio)


def test_events_that_do_not_arrive_are_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_mqtt, "_publish", lambda *_: None)
    monkeypatch.setattr(bench_mqtt, "PATIENCE_S", 2.0)
    with pytest.raises(BrokerError, match="0 of 1 events arrived"):
        bench_mqtt.bench_mqtt(50)
