"""Which broker do the tests talk to?

A real Mosquitto on a loopback port, with a real subscriber, and a gate for what it cannot do by
itself: refuse MQTT 5, or lose every connection at once. Tests skip where `mosquitto` is missing.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests import payload_schemas

WAIT_S = 15.0  # far more than anything takes here, so that a loaded machine fails no test


class Mosquitto:
    """One broker process, anonymous or with `users`, without persistence.

    `access` is the text of an access list; `certificate` (and its key) make it speak TLS;
    `settings` are further lines of its configuration. It can be stopped, started again on the same
    port, frozen and thawed; `stop` is safe at any time.
    """

    def __init__(
        self,
        folder: Path,
        users: Mapping[str, str] | None = None,
        access: str | None = None,
        certificate: tuple[Path, Path] | None = None,
        settings: Sequence[str] = (),
    ) -> None:
        program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
        if program is None:
            pytest.skip("mosquitto is not installed: apt install mosquitto")
        self.port = free_port()
        self._program = program
        self._config = folder / "mosquitto.conf"
        self._process: subprocess.Popen[bytes] | None = None
        lines = [
            f"listener {self.port} 127.0.0.1",
            "persistence false",
            f"log_dest file {folder / 'mosquitto.log'}",
            f"allow_anonymous {'false' if users else 'true'}",
        ]
        if os.geteuid() == 0:
            lines.append("user root")  # or it would give up the right to read the test's folder
        if users:
            lines.append(f"password_file {_password_file(folder, users)}")
        if access is not None:
            (folder / "access").write_text(access)
            (folder / "access").chmod(0o600)
            lines.append(f"acl_file {folder / 'access'}")
        if certificate is not None:
            lines += [f"certfile {certificate[0]}", f"keyfile {certificate[1]}"]
        lines += settings
        self._config.write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._program, "-c", str(self._config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: _listens(self.port), "mosquitto listens")

    def stop(self) -> None:
        """End it at once, as a power cut would: clients get no goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(WAIT_S)
            self._process = None

    def allow(self, access: str) -> None:
        """Put another access list in place, while it runs."""
        assert self._process is not None
        (self._config.parent / "access").write_text(access)
        self._process.send_signal(signal.SIGHUP)

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def mosquitto(
    folder: Path,
    users: Mapping[str, str] | None = None,
    access: str | None = None,
    certificate: tuple[Path, Path] | None = None,
    settings: Sequence[str] = (),
) -> Iterator[Mosquitto]:
    """A running broker for the length of a `with` block."""
    broker = Mosquitto(folder, users, access, certificate, settings)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


class Received:
    """One message as it arrived."""

    def __init__(self, message: paho.MQTTMessage) -> None:
        self.topic = message.topic
        self.payload = message.payload
        self.qos = message.qos
        self.retain = message.retain

    @property
    def content(self) -> dict[str, object]:
        content = json.loads(self.payload)
        assert isinstance(content, dict)
        return content


class Subscriber:
    """A real client that keeps all it receives, in order; MQTT 5 unless told otherwise.

    At the end of its `with` block it holds every message of ours against the schemas, unless there
    is `garbage` among them.

    With MQTT 5 it asks for the retain flag as published, so that the flag can be checked on live
    messages; a broker clears it otherwise (MQTT 5, 3.3.1.3).
    """

    def __init__(
        self,
        port: int,
        topic: str = "smolwatch/#",
        *,
        protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
        login: tuple[str, str] | None = None,
        garbage: bool = False,
    ) -> None:
        self._garbage = garbage
        self.messages: list[Received] = []
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=protocol)
        self._client.on_message = self._on_message
        self._client.on_subscribe = self._on_subscribe
        if login is not None:
            self._client.username_pw_set(*login)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        if protocol == MQTTProtocolVersion.MQTTv5:
            self._client.subscribe(topic, options=SubscribeOptions(1, retainAsPublished=True))
        else:
            self._client.subscribe(topic, qos=1)
        assert self._subscribed.wait(WAIT_S), "the broker did not confirm the subscription"

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, error: object = None, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._client.on_message = self._client.on_subscribe = None
        if error is None and not self._garbage:
            payload_schemas.check((message.topic, message.payload) for message in self.messages)

    def on(self, topic: str) -> list[Received]:
        return [message for message in list(self.messages) if message.topic == topic]

    def wait_for(self, topic: str, count: int = 1) -> list[Received]:
        wait_until(lambda: len(self.on(topic)) >= count, f"{count} messages on {topic}")
        return self.on(topic)

    def wait_for_state(self, topic: str, state: str) -> Received:
        def last() -> Received | None:
            return next(reversed(self.on(topic)), None)

        wait_until(
            lambda: (m := last()) is not None and m.content["state"] == state, f"{state} on {topic}"
        )
        message = last()
        assert message is not None
        return message

    def _on_message(
        self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage
    ) -> None:
        self.messages.append(Received(message))

    def _on_subscribe(
        self,
        _client: paho.Client,
        _userdata: object,
        _mid: int,
        _reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        self._subscribed.set()


class Gate:
    """A TCP relay before a broker, which does to MQTT 5 what old brokers do, and cuts lines.

    `mqtt5`: "pass" it on; "refuse" it with the return code 1 of MQTT 3.1.1; or "close" without a
    word. With `nonsense` no version gets any further. `connects` holds the protocol level of each
    CONNECT seen. `bytes_per_s`: no more than so many get through to the broker.
    """

    def __init__(
        self,
        broker_port: int,
        mqtt5: Literal["pass", "refuse", "close"] = "pass",
        bytes_per_s: int | None = None,
    ) -> None:
        self.mqtt5 = mqtt5
        self.bytes_per_s = bytes_per_s
        self.nonsense: bytes | None = None
        self.connects: list[int] = []
        self._broker_port = broker_port
        self._lines: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`; closing alone does not
        self._listener.close()
        self._thread.join(WAIT_S)
        self.cut()

    def cut(self) -> None:
        """Close every line as a cable pulled out would: no DISCONNECT in either direction."""
        for line in self._lines:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()
        self._lines.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                line, _ = self._listener.accept()
                with suppress(OSError):  # the broker is away: this line gets no further
                    self._admit(line)

    def _admit(self, line: socket.socket) -> None:
        line.settimeout(WAIT_S)
        packet = line.recv(65_536)  # a CONNECT arrives whole on loopback
        if not packet:
            line.close()
            return
        level = packet[packet.index(b"MQTT") + 4]
        self.connects.append(level)
        answer = self.nonsense
        if answer is None and level == 5:
            answer = {"refuse": b"\x20\x02\x00\x01", "close": b""}.get(self.mqtt5)
        if answer is not None:
            line.sendall(answer)
            line.close()
            return
        try:
            onward = socket.create_connection(("127.0.0.1", self._broker_port), WAIT_S)
        except OSError:
            line.close()
            raise
        onward.sendall(packet)
        self._lines += [line, onward]
        for source, target in ((line, onward), (onward, line)):
            source.settimeout(None)
            slowly = self.bytes_per_s if source is line else None
            threading.Thread(target=_pump, args=(source, target, slowly), daemon=True).start()


def free_port() -> int:
    """A loopback port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> None:
    """Wait for a condition, for a generous while, and say which one it was if it never came."""
    pause = threading.Event()
    for _ in range(int(timeout_s / 0.01)):
        if condition():
            return
        pause.wait(0.01)
    pytest.fail(f"waited {timeout_s:.0f} s in vain: {what}")


def _password_file(folder: Path, users: Mapping[str, str]) -> Path:
    path = folder / "passwords"
    path.touch(mode=0o600)
    for name, password in users.items():
        subprocess.run(["mosquitto_passwd", "-b", str(path), name, password], check=True)
    return path


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
        return True
    return False


def _pump(source: socket.socket, target: socket.socket, bytes_per_s: int | None = None) -> None:
    pause = threading.Event()
    with suppress(OSError):
        while piece := source.recv(65_536 if bytes_per_s is None else 4096):
            target.sendall(piece)
            if bytes_per_s is not None:
                pause.wait(len(piece) / bytes_per_s)
        target.shutdown(socket.SHUT_RDWR)
