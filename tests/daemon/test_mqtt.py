"""Are topics, payloads, options and reasons what mqtt's users were promised?"""

from __future__ import annotations

import errno
import json
import math
import socket
import ssl
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from daemon.mqtt import payloads
from daemon.mqtt.options import MqttOptions
from daemon.mqtt.payloads import Message, event_content, event_messages
from daemon.mqtt.reasons import (
    MQTT5,
    MQTT311,
    connect_failed,
    connect_refused,
    link_lost,
    next_protocol,
)
from daemon.mqtt.records import (
    BridgeHealth,
    CameraEntry,
    CameraHealth,
    PublisherHealth,
    RuleSetting,
    RuleStatus,
)
from daemon.mqtt.text import SUMMARY_CHARS, TEXT_BYTES, full_text, summary
from daemon.mqtt.topics import Topics, check_slug
from tests.daemon.events import DESCRIBE, MATCH

TOPICS = Topics("home/smolwatch")
TS = "2026-11-22T12:00:00.123Z"


def content(message: Message) -> object:
    return json.loads(message.payload)


def shape(message: Message) -> tuple[str, int, bool, str]:
    return message.topic, message.qos, message.retain, message.kind


# --- topics


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("Front Door", "'front_door'"),
        ("garage/#", "'garage'"),
        ("", "'camera_1'"),
        ("tür", "'t_r'"),
        ("bridge", "'bridge_camera'"),
        ("porch\n", "'porch'"),
    ],
)
def test_a_bad_name_is_refused_with_a_good_one(name: str, advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        check_slug(name, "camera")


@pytest.mark.parametrize(
    "base", ["", "/a", "a/", "a//b", "a/+", "a#", "$SYS/a", "a\x00", " a", "x" * 129]
)
def test_a_base_topic_that_no_broker_takes_is_refused(base: str) -> None:
    with pytest.raises(ValueError, match="such as"):
        Topics(base)


def test_topics_stand_below_the_base() -> None:
    assert TOPICS.bridge("state") == "home/smolwatch/bridge/state"
    assert TOPICS.camera("porch", "event") == "home/smolwatch/porch/event"
    assert TOPICS.rule("porch", "dog_out") == "home/smolwatch/porch/rule/dog_out"


# --- payloads, key by key


def test_an_event_has_every_key_of_the_schema() -> None:
    assert event_content(MATCH, 560.4) == {
        "schema": 1,
        "event_id": "01JD000000000000000000MATCH",
        "incident_id": "01JD0000000000000000000000",
        "event_type": "rule_match",
        "camera": "porch",
        "rule": "package_delivered",
        "severity": "alert",
        "score": 0.8313,
        "ts": TS,
        "camera_ts": None,
        "replay": False,
        "summary": "package_delivered opened on porch",
        "text": None,
        "latency_ms": {"queue": 3, "encode": 210, "prefill": 340, "decode": 0, "total": 560},
        "model": {"id": "bundled", "prompt_sha256": "ab" * 32},
    }


def test_an_event_tells_the_cameras_own_clock_where_it_has_one() -> None:
    told = event_content(replace(MATCH, camera_time=MATCH.wall_time - 1.0), 1.0)
    assert told["camera_ts"] == "2026-11-22T11:59:59.123Z"
    assert told["ts"] == TS


def test_a_match_tells_the_event_and_then_its_rule() -> None:
    event, rule = event_messages(TOPICS, MATCH, event_content(MATCH, 560.0))
    assert shape(event) == ("home/smolwatch/porch/event", 1, False, "alert")
    assert content(event) == event_content(MATCH, 560.0)
    assert shape(rule) == ("home/smolwatch/porch/rule/package_delivered", 1, True, "alert")
    assert content(rule) == {
        "state": "ON",
        "incident_id": "01JD0000000000000000000000",
        "since": TS,
        "score": 0.8313,
    }


def test_a_clear_turns_the_rule_off_and_keeps_every_key() -> None:
    clear = replace(MATCH, event_type="rule_clear", score=0.1)
    _, rule = event_messages(TOPICS, clear, event_content(clear, 1.0))
    assert content(rule) == {"state": "OFF", "incident_id": None, "since": TS, "score": 0.1}


def test_an_update_leaves_the_rule_as_it_is_and_brings_words() -> None:
    update = replace(MATCH, event_type="rule_update", text="A man puts down a box.")
    event, words = event_messages(TOPICS, update, event_content(update, 1.0))
    assert shape(event) == ("home/smolwatch/porch/event", 1, False, "alert")
    assert shape(words) == ("home/smolwatch/porch/description", 1, True, "description")


def test_a_description_is_told_as_event_and_as_state() -> None:
    event, words = event_messages(TOPICS, DESCRIBE, event_content(DESCRIBE, 1.0))
    assert shape(event) == ("home/smolwatch/porch/event", 1, False, "description")
    assert content(words) == {
        "summary": "A car arrives.",
        "text": "A car arrives.",
        "ts": TS,
        "event_id": "01JD00000000000000DESCRIBE",
    }


def test_a_score_that_is_no_number_becomes_null() -> None:
    assert event_content(replace(MATCH, score=math.nan), 1.0)["score"] is None


def test_bridge_state_and_availability() -> None:
    online = payloads.bridge_state(TOPICS, online=True)
    assert shape(online) == ("home/smolwatch/bridge/state", 1, True, "state")
    assert online.payload == b'{"state":"online"}'
    offline = payloads.availability(TOPICS, "porch", online=False)
    assert shape(offline) == ("home/smolwatch/porch/availability", 1, True, "state")
    assert offline.payload == b'{"state":"offline"}'


def test_bridge_info_shows_no_credentials() -> None:
    info = payloads.bridge_info(
        TOPICS,
        version="0.1.0",
        model_id="bundled",
        configuration={"cameras": {"porch": {"source": "rtsp://bob:hunter2@10.0.0.5/s", "n": 8}}},
    )
    assert shape(info) == ("home/smolwatch/bridge/info", 1, True, "state")
    assert content(info) == {
        "schema": 1,
        "version": "0.1.0",
        "model": {"id": "bundled"},
        "configuration": {"cameras": {"porch": {"source": "rtsp://***@10.0.0.5/s", "n": 8}}},
    }


def test_bridge_cameras_is_the_inventory_without_credentials() -> None:
    message = payloads.bridge_cameras(
        TOPICS, [CameraEntry("porch", "rtsp://bob:hunter2@10.0.0.5/s", ("dog_out",))]
    )
    assert shape(message) == ("home/smolwatch/bridge/cameras", 1, True, "state")
    assert content(message) == {
        "schema": 1,
        "cameras": [{"camera": "porch", "source": "rtsp://***@10.0.0.5/s", "rules": ["dog_out"]}],
    }


def test_bridge_health_tells_of_link_and_outbox() -> None:
    link = PublisherHealth(
        connected=True,
        protocol="5",
        problem=None,
        pending=2,
        oldest_s=1.26,
        published=7,
        refused=1,
        dropped=3,
        dropped_alerts=0,
        dead_letters=1,
        in_memory=0,
        on_disk=True,
        publish_ms_p50=4.44,
        heartbeat_s=123.0,
    )
    media = {"clips": 2, "deleted": 7, "waiting": 1}
    bridge = BridgeHealth(MATCH.wall_time, 61.04, "downloading 43%", 9, 4, media=media)
    message = payloads.bridge_health(TOPICS, bridge, link)
    assert shape(message) == ("home/smolwatch/bridge/health", 1, True, "state")
    assert content(message) == {
        "ts": TS,
        "uptime_s": 61.0,
        "model_state": "downloading 43%",
        "windows_run": 9,
        "events": 4,
        "broker": {"connected": True, "protocol": "5"},
        "outbox": {
            "pending": 2,
            "oldest_s": 1.3,
            "published": 7,
            "refused": 1,
            "dead_letters": 1,
            "in_memory": 0,
            "on_disk": True,
            "dropped": 3,
            "dropped_alerts": 0,
            "publish_ms_p50": 4.4,
        },
        "media": {"snapshots": 0, "clips": 2, "failed": 0, "dropped": 0, "deleted": 7},
        "problem": "the broker refused 1 messages: look at smolwatch mqtt dead-letters",
    }


def test_what_was_lost_is_a_problem_and_alerts_come_first() -> None:
    link = PublisherHealth(True, "5", None, 0, 0.0, 7, 0, 0, 0, 0, 0, True, None, 1.0)
    bridge = BridgeHealth(MATCH.wall_time, 1.0, "ready", 9, 4)

    def problem(link: PublisherHealth) -> object:
        return json.loads(payloads.bridge_health(TOPICS, bridge, link).payload)["problem"]

    assert problem(link) is None
    assert problem(replace(link, dropped=5)) is None  # descriptions gave way: that is as promised
    assert "3 alerts" in str(problem(replace(link, dropped=5, dropped_alerts=3, refused=1)))
    assert "see its access list" in str(problem(replace(link, refused=1)))
    assert "free disk space" in str(problem(replace(link, in_memory=2, dead_letters=1)))
    assert problem(replace(link, in_memory=2, on_disk=False)) is None  # as configured


def test_camera_state_has_what_switches_and_numbers_show() -> None:
    message = payloads.camera_state(
        TOPICS, "porch", enabled=True, prompt="What?", rules={"dog_out": RuleSetting(True, 0.6)}
    )
    assert shape(message) == ("home/smolwatch/porch/state", 1, True, "state")
    assert content(message) == {
        "enabled": True,
        "prompt": "What?",
        "rules": {"dog_out": {"armed": True, "threshold": 0.6}},
    }


def test_camera_health_is_light_and_not_kept() -> None:
    health = CameraHealth(4.987, None, 560.123, 3, 12, 1, 0.5, 2, "rtsp://bob:pw@h/ \x07 is away")
    message = payloads.camera_health(TOPICS, "porch", health)
    assert shape(message) == ("home/smolwatch/porch/health", 0, False, "state")
    assert content(message) == {
        "fps": 4.99,
        "frame_age_s": None,
        "lag_s": None,
        "latency_ms_p50": 560.12,
        "frames_dropped": 3,
        "windows_run": 12,
        "windows_skipped": 1,
        "blind_time_pct": 0.5,
        "reconnects": 2,
        "problem": "rtsp://***@h/ is away",
    }


def test_a_rule_starts_off_with_every_key() -> None:
    message = payloads.rule_state(
        TOPICS, "porch", "dog_out", RuleStatus(False, "01JD", MATCH.wall_time, None)
    )
    assert content(message) == {"state": "OFF", "incident_id": None, "since": TS, "score": None}


# --- words of the model


def test_control_and_direction_characters_are_stripped() -> None:
    said = "A\x00 man\x1b[31m at\u202e the\u2066 door\ud800\r\nwaves\tback\u2028now\x85"
    assert full_text(said) == "A man[31m at the door\nwaves back\nnow"
    assert summary(said) == "A man[31m at the door waves back now"


def test_long_words_are_cut_between_characters() -> None:
    assert summary("é" * 255) == "é" * 255
    assert summary("é" * 256) == "é" * 254 + "…"
    assert full_text("€" * (TEXT_BYTES // 3)) == "€" * (TEXT_BYTES // 3)
    cut = full_text("€" * TEXT_BYTES)
    assert cut == "€" * ((TEXT_BYTES - 3) // 3) + "…"


@settings(deadline=None)
@given(st.text(st.characters(), max_size=400).map(lambda text: text * 30))
def test_no_text_breaks_a_payload(text: str) -> None:
    event = replace(DESCRIBE, text=text)
    for message in event_messages(TOPICS, event, event_content(event, 1.0)):
        told = json.loads(message.payload)
        assert len(told["summary"]) <= SUMMARY_CHARS
        assert len(told["text"].encode()) <= TEXT_BYTES
        assert not any(ord(c) < 32 and c != "\n" for c in told["text"] + told["summary"])
        assert message.topic in {"home/smolwatch/porch/event", "home/smolwatch/porch/description"}


# --- options and reasons


def test_options_never_show_the_password() -> None:
    options = MqttOptions("10.0.0.2", username="smolwatch", password="hunter2")
    assert "hunter2" not in repr(options)
    assert "smolwatch" in repr(options)


def test_the_brokers_name_has_its_port() -> None:
    assert MqttOptions("10.0.0.2").broker == "10.0.0.2:1883"
    assert MqttOptions("fd00::2").broker == "[fd00::2]:1883"


@pytest.mark.parametrize(
    ("error", "cause", "advice"),
    [
        (socket.gaierror(-2, "Name or service not known"), "unresolvable", "mqtt.broker"),
        (ConnectionRefusedError(), "refused", "start the broker"),
        (TimeoutError(), "timeout", "firewall"),
        (ssl.SSLCertVerificationError("expired"), "certificate", "mqtt.ca_file"),
        (ssl.SSLError(1, "wrong version"), "tls", "8883"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "unreachable", "the network"),
    ],
)
def test_why_there_is_no_connection(error: OSError, cause: str, advice: str) -> None:
    problem = connect_failed(error, "broker.lan:1883", tls=False)
    assert problem.cause == cause
    assert advice in problem.message
    assert "broker.lan:1883" in problem.message


@pytest.mark.parametrize(
    ("code", "cause", "advice", "slow"),
    [
        (0x86, "bad_password", "mqtt.password_file", True),
        (0x87, "not_authorized", "mqtt.username", True),
        (0x85, "rejected_0x85", "mqtt.client_id", False),
        (0x88, "rejected_0x88", "starting or shutting down", False),
        (0x83, "rejected_0x83", "the broker's log", False),
    ],
)
def test_why_the_broker_said_no(code: int, cause: str, advice: str, slow: bool) -> None:
    problem = connect_refused(ReasonCode(PacketTypes.CONNACK, identifier=code), "h:1883")
    assert problem.cause == cause
    assert advice in problem.message
    assert problem.needs_a_person is slow


def test_why_a_link_ended() -> None:
    taken_over = ReasonCode(PacketTypes.DISCONNECT, identifier=0x8E)
    assert "mqtt.client_id" in link_lost(taken_over, "h:1883", accepted=True).message
    assert link_lost(None, "h:1883", accepted=True).cause == "lost"
    assert link_lost(None, "h:1883", accepted=False).cause == "closed"


def test_which_protocol_comes_next() -> None:
    def after(tried: object, *, refused: bool = False, silent: bool = False, worked: object = None):  # type: ignore[no-untyped-def]
        return next_protocol(tried, refused=refused, silent=silent, worked=worked)  # type: ignore[arg-type]

    assert after(MQTT5) == MQTT5  # the broker is away: that says nothing of its age
    assert after(MQTT5, refused=True) == MQTT311
    assert after(MQTT5, silent=True) == MQTT311
    assert after(MQTT311, silent=True) == MQTT5
    assert after(MQTT5, silent=True, worked=MQTT5) == MQTT5  # a restart is silent, too
    assert after(MQTT311, worked=MQTT311) == MQTT311  # remembered
    assert after(MQTT5, refused=True, worked=MQTT5) == MQTT311  # another broker came back
