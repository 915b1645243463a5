"""Does `smolwatch mqtt check` find what is wrong with a real broker, and say how to mend it?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemon.cli import app
from daemon.findings import Finding
from daemon.mqtt.check import CAMERA, Wanted, check_broker
from daemon.mqtt.options import MqttOptions
from daemon.mqtt.tls import TlsFiles
from pipelines.clock import SystemClock
from tests.certificates import Authority
from tests.mosquitto import Gate, Subscriber, free_port, mosquitto, wait_until

LIST = Path(__file__).parents[2] / "configs" / "mosquitto" / "acl"
ALL = Wanted("full", "homeassistant")

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")


def check(port: int, wanted: Wanted = ALL, **settings: object) -> list[Finding]:
    options = MqttOptions("127.0.0.1", port, **settings)  # type: ignore[arg-type]
    return list(check_broker(options, wanted, SystemClock()))


def troubles(found: list[Finding]) -> list[Finding]:
    return [one for one in found if one.level != "ok"]


def only(found: list[Finding]) -> Finding:
    (trouble,) = troubles(found)
    return trouble


def test_a_good_broker_gets_no_complaint(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        found = check(broker.port)
    assert troubles(found) == []
    kinds = ["network", "encryption", "login", "limits", "publishing", "subscribing"]
    assert [one.what for one in found] == kinds
    assert "MQTT 5" in found[2].text


def test_our_access_list_is_enough_for_it(tmp_path: Path) -> None:
    with mosquitto(tmp_path, {"smolwatch": "pw"}, LIST.read_text()) as broker:
        assert troubles(check(broker.port, username="smolwatch", password="pw")) == []


def test_it_leaves_nothing_behind_and_says_nothing_of_real_cameras(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        with Subscriber(broker.port, "#", garbage=True) as subscriber:
            check(broker.port)
            wait_until(lambda: len(subscriber.messages) >= 10, "it wrote to each kind of topic")
            written = {message.topic: message for message in subscriber.messages}
        assert all("check" in topic for topic in written)
        assert [m.topic for m in written.values() if m.retain or m.payload] == []
        assert f"smolwatch/{CAMERA}/event" in written
        with Subscriber(broker.port, "#", garbage=True) as later:
            later.messages.clear()
            check(broker.port)
            wait_until(lambda: later.messages, "it writes again")
            assert not any(message.retain for message in later.messages)


def test_every_topic_that_may_not_be_written_is_named_with_its_remedy(tmp_path: Path) -> None:
    access = "user smolwatch\ntopic write smolwatch/bridge/#\ntopic write smolwatch/+/event\n"
    with mosquitto(tmp_path, {"smolwatch": "pw"}, access) as broker:
        found = troubles(check(broker.port, username="smolwatch", password="pw"))
    said = {one.text.split()[4]: one.fix for one in found if one.what == "publishing"}
    assert "smolwatch/smolwatch_check/event" not in said
    assert "smolwatch/+/rule/+" in str(said["smolwatch/smolwatch_check/rule/check"])
    discovery = said["homeassistant/device/smolwatch_check/config"]
    assert "homeassistant/device/+/config" in str(discovery)


def test_a_wrong_password(tmp_path: Path) -> None:
    with mosquitto(tmp_path, {"smolwatch": "pw"}) as broker:
        trouble = only(check(broker.port, username="smolwatch", password="hunter2"))
    assert (trouble.level, trouble.what) == ("fail", "login")
    assert "mqtt.password_file" in str(trouble.fix)
    assert "hunter2" not in repr(trouble)


def test_nobody_there() -> None:
    trouble = only(check(free_port()))
    assert (trouble.level, trouble.what) == ("fail", "network")
    assert "start the broker" in str(trouble.fix)


def test_an_old_broker_is_spoken_to_in_its_own_words(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, Gate(broker.port, mqtt5="refuse") as gate:
        found = check(gate.port)
    assert "MQTT 3.1.1" in next(one.text for one in found if one.what == "login")
    assert (only(found).level, "does not say" in only(found).text) == ("warn", True)


@pytest.mark.parametrize(("limit", "level"), [(2000, "fail"), (100_000, "warn")])
def test_a_limit_that_is_too_low(limit: int, level: str, tmp_path: Path) -> None:
    with mosquitto(tmp_path, settings=[f"max_packet_size {limit}"]) as broker:
        trouble = only(check(broker.port))
    assert (trouble.level, trouble.what) == (level, "limits")
    assert f"{limit} bytes" in trouble.text


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("retain_available false", "retained messages on"),
        ("max_qos 0", "messages of QoS 1"),
    ],
)
def test_what_the_daemon_cannot_do_without(setting: str, said: str, tmp_path: Path) -> None:
    with mosquitto(tmp_path, settings=[setting]) as broker:
        trouble = only(check(broker.port))
    assert trouble.level == "fail"
    assert said in str(trouble.fix)


def test_the_certificate_is_shown_and_its_end_foretold(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate = authority.issue("127.0.0.1", days=5.5)
    with mosquitto(tmp_path, certificate=certificate) as broker:
        found = check(broker.port, tls=TlsFiles(authority.file))
    assert "TLSv1." in next(one.text for one in found if one.what == "encryption")
    assert (only(found).level, only(found).what) == ("warn", "certificate")
    assert "127.0.0.1" in only(found).text
    assert "5 days" in only(found).text


def test_the_names_of_a_certificate_that_is_for_another_host(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with mosquitto(tmp_path, certificate=authority.issue("broker.lan")) as broker:
        trouble = only(check(broker.port, tls=TlsFiles(authority.file)))
    assert (trouble.level, trouble.what) == ("fail", "certificate")
    assert "broker.lan" in str(trouble.fix)


def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "smolwatch.yaml"
    cameras = "cameras: {porch: {source: 'scene://porch'}}\n"
    with mosquitto(tmp_path) as broker:
        path.write_text(f"mqtt: {{broker: '127.0.0.1:{broker.port}'}}\n{cameras}")
        good = CliRunner().invoke(app, ["mqtt", "check", "-c", str(path)])
        as_json = CliRunner().invoke(app, ["mqtt", "check", "-c", str(path), "--json"])
    assert (good.exit_code, "ok    login" in good.output) == (0, True), good.output
    assert {json.loads(line)["level"] for line in as_json.output.splitlines()} == {"ok"}
    bad = CliRunner().invoke(app, ["mqtt", "check", "-c", str(path)])
    assert (bad.exit_code, "-> start the broker" in bad.output) == (1, True), bad.output
    path.write_text(f"mqtt: {{broker: embedded}}\n{cameras}")
    assert CliRunner().invoke(app, ["mqtt", "check", "-c", str(path)]).exit_code == 78
