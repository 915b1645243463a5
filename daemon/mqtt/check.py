"""Does the broker do all that smolwatch needs of it?

Knows no configuration file and no terminal: options in, findings out, one after the other as they
are found. It has a client name of its own, a made-up camera and a last will of its own, and leaves
nothing retained, so that a running daemon and its subscribers are not disturbed.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from daemon.findings import Finding
from daemon.mqtt.client import CONNECT_TIMEOUT_S
from daemon.mqtt.commands import Level
from daemon.mqtt.homeassistant import STATUS_TOPIC
from daemon.mqtt.link_events import Accepted
from daemon.mqtt.options import MqttOptions
from daemon.mqtt.payloads import Message
from daemon.mqtt.reading import Reader
from daemon.mqtt.reasons import MQTT5, MQTT311, BrokerError, connect_failed, next_protocol
from daemon.mqtt.talk import Talk
from daemon.mqtt.topics import Topics
from pipelines.clock import Clock

SOON_S: Final = 14 * 86_400  # a certificate that ends within two weeks is worth a word
EVENT_BYTES: Final = 16_384  # the longest event, 8 KiB of text in JSON with its keys
PICTURE_BYTES: Final = 262_144  # a snapshot of 1080p is below that
CAMERA: Final = "smolwatch_check"  # no real one
_REFUSED = 0x80
_KINDS = (
    "availability", "state", "event", "rule/check", "description", "digest", "snapshot", "health"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the daemon will want of the broker: see `mqtt.commands` and `mqtt.discovery`."""

    commands: Level
    discovery_prefix: str | None  # None: nothing is announced to Home Assistant


def check_broker(options: MqttOptions, wanted: Wanted, clock: Clock) -> Iterator[Finding]:
    """Look at name, socket, certificate, login, limits and rights, as far as each leads.

    Ends within a minute whatever the broker does.
    """
    begun_s = clock.monotonic_s()
    try:
        context = options.tls.context() if options.tls else None
        with socket.create_connection((options.host, options.port), CONNECT_TIMEOUT_S) as line:
            took_ms = (clock.monotonic_s() - begun_s) * 1e3
            peer = line.getpeername()[0]
            yield Finding("ok", "network", f"{options.broker} ({peer}) answers in {took_ms:.0f} ms")
            if context is not None:
                yield from _certificate(line, context, options.host, clock)
            else:
                yield _plain(peer)
    except BrokerError as error:
        yield Finding("fail", "certificate", str(error), "correct that key of the configuration")
        return
    except OSError as error:  # ssl.SSLError is one, and so is a name that cannot be resolved
        problem = connect_failed(error, options.broker, tls=options.tls is not None)
        said, _, fix = problem.message.partition(": ")
        what = "certificate" if isinstance(error, ssl.SSLError) else "network"
        yield Finding("fail", what, said, _with_names(error, fix, options))
        return
    yield from _session(options, wanted, context, clock)


def _empty(topic: str) -> Message:
    return Message(topic, b"", retain=False, qos=1, kind="state")


def _plain(peer: str) -> Finding:
    if peer.startswith("127.") or peer == "::1":
        return Finding("ok", "encryption", "none; the broker is on this machine")
    return Finding(
        "warn", "encryption", "none: who listens on the network reads the password and every event",
        "give the broker a TLS listener, and set mqtt.tls: true",
    )  # fmt: skip


def _certificate(
    line: socket.socket, context: ssl.SSLContext, host: str, clock: Clock
) -> Iterator[Finding]:
    with context.wrap_socket(line, server_hostname=host) as secured:
        cipher = secured.cipher()
        shown: Any = secured.getpeercert() or {}
        version = secured.version()
    name = cipher[0] if cipher else "an unknown cipher"
    yield Finding("ok", "encryption", f"{version} with {name}")
    ends = ssl.cert_time_to_seconds(str(shown["notAfter"]))
    left_s = ends - clock.wall_time()
    day = datetime.fromtimestamp(ends, UTC).date()
    text = f"for {_names(shown)}; valid until {day}, {left_s / 86_400:.0f} days"
    if left_s < SOON_S:
        yield Finding("warn", "certificate", text, "renew it on the broker before it ends")
    else:
        yield Finding("ok", "certificate", text)


def _names(certificate: Any) -> str:
    return ", ".join(name for _, name in certificate.get("subjectAltName", ())) or "no name"


def _with_names(error: OSError, fix: str, options: MqttOptions) -> str:
    """With the names that the certificate has, if it is those that do not fit."""
    if getattr(error, "verify_code", None) not in (62, 64) or options.tls is None:
        return fix
    context = options.tls.context()
    context.check_hostname = False  # who signed it is still checked
    try:
        with (
            socket.create_connection((options.host, options.port), CONNECT_TIMEOUT_S) as line,
            context.wrap_socket(line) as secured,
        ):
            return f"{fix}; its names are {_names(secured.getpeercert())}"
    except OSError:
        return fix


def _session(
    options: MqttOptions, wanted: Wanted, context: ssl.SSLContext | None, clock: Clock
) -> Iterator[Finding]:
    own = replace(options, client_id=f"{options.client_id}-check")
    topics = Topics(options.base_topic)
    will = _empty(topics.bridge("check"))
    protocol = MQTT5 if options.protocol == "auto" else MQTT311
    while True:
        talk = Talk(own, protocol, will, context, clock)
        try:
            answer = talk.wait_for_answer()
            if isinstance(answer, Accepted):
                version = "5" if protocol == MQTT5 else "3.1.1"
                user = f"as {own.username!r}" if own.username else "without a user name"
                yield Finding("ok", "login", f"accepted {user}, with MQTT {version}")
                yield from _limits(answer)
                yield from _rights(talk, topics, wanted, tells_refusals=protocol == MQTT5)
                return
        finally:
            talk.close()
        silent = answer.problem.cause in ("closed", "no_answer")
        following = next_protocol(
            protocol, refused=answer.protocol_refused, silent=silent, worked=None
        )
        if protocol in (following, MQTT311):
            said, _, fix = answer.problem.message.partition(": ")
            yield Finding("fail", "login", said, fix or None)
            return
        protocol = following


def _limits(accepted: Accepted) -> Iterator[Finding]:
    longest = accepted.max_packet
    most = f"{accepted.receive_maximum} messages at once"
    if longest is not None and longest < PICTURE_BYTES:
        level: Literal["fail", "warn"] = "fail" if longest < EVENT_BYTES else "warn"
        lost = "events with long texts and pictures" if level == "fail" else "large pictures"
        yield Finding(
            level, "limits", f"messages of at most {longest} bytes: {lost} are refused",
            f"raise the broker's limit (Mosquitto: max_packet_size) to {PICTURE_BYTES}",
        )  # fmt: skip
    else:
        size = "of any size" if longest is None else f"up to {longest} bytes"
        yield Finding("ok", "limits", f"messages {size}, {most}")
    if accepted.told.get("RetainAvailable") == 0:
        yield Finding(
            "fail", "limits", "it keeps no retained messages: states are lost on every restart",
            "turn retained messages on in the broker (Mosquitto: retain_available true)",
        )  # fmt: skip


def _rights(
    talk: Talk, topics: Topics, wanted: Wanted, *, tells_refusals: bool
) -> Iterator[Finding]:
    """Write to each kind of topic, nothing retained; ask to read what the daemon will."""
    written = [topics.bridge("check"), *(topics.camera(CAMERA, kind) for kind in _KINDS)]
    read = list(Reader(topics, wanted.commands, {}).subscriptions)
    if wanted.discovery_prefix is not None:
        written.append(f"{wanted.discovery_prefix}/device/{CAMERA}/config")
        read += [STATUS_TOPIC, f"{wanted.discovery_prefix}/device/+/config"]
    sent = {talk.link.send(_empty(topic)): topic for topic in written}
    took_s = talk.wait_for(set(sent))
    asked = {talk.link.subscribe(topic): topic for topic in read}
    talk.wait_for(set(asked))
    yield from _refusals(talk, sent, "write to", took_s, tells_refusals=tells_refusals)
    yield from _refusals(talk, asked, "read", took_s, tells_refusals=True)


def _refusals(
    talk: Talk, asked: dict[int, str], verb: str, took_s: float, *, tells_refusals: bool
) -> Iterator[Finding]:
    what = "publishing" if verb == "write to" else "subscribing"
    refused = 0
    for mid, topic in asked.items():
        answer = talk.answers.get(mid)
        if answer is not None and answer.reason.value < _REFUSED:
            continue
        refused += 1
        said = "no answer" if answer is None else str(answer.reason)
        general = topic.replace(CAMERA, "+").replace("rule/check", "rule/+")
        yield Finding(
            "fail", what, f"may not {verb} {topic} ({said})",
            f"let this user {verb} {general} in the broker's access list (an entry for each camera "
            "does as well: the camera in this topic is made up)",
        )  # fmt: skip
    if refused or not asked:
        return
    if not tells_refusals:
        yield Finding(
            "warn", what, "with MQTT 3.1.1 a broker does not say what it refuses: unchecked",
            "look for denied messages in the broker's log",
        )  # fmt: skip
    elif verb == "write to":
        text = f"{len(asked)} kinds of topics, all answered within {took_s * 1e3:.0f} ms"
        yield Finding("ok", what, text)
    else:
        # Mosquitto's acl_file says yes to every subscription and then delivers nothing.
        yield Finding("ok", what, f"{len(asked)} filters accepted")
