"""Is there any way for a secret out of a real daemon?

Secrets stand in every place of a configuration that can hold one; cameras and broker are such that
the daemon has to complain about them; then everything that it said or wrote is searched.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from cryptography.hazmat.primitives import serialization

from daemon.config import load_config
from daemon.control import ControlError, ask
from tests.certificates import Authority
from tests.h264 import write_numbered_clip
from tests.mosquitto import Subscriber, free_port, mosquitto, wait_until
from tests.rtsp_server import Login, RtspServer

MARK = "quokka4711"  # within every secret, and nowhere else
SECRETS = {
    name: f'{MARK}{name.lower()}@/ ö%"&\\'
    for name in ("RIGHT", "WRONG", "TOKEN", "PLAIN", "BROKER", "KEY")
}
SECRETS["XM"] = f"{MARK}xm"  # such cameras take no other characters
SECRETS["HTTP"] = f"{MARK}http-token-with-more-letters"  # nor does HTTP's
PROGRAM = """
import logging, pathlib, sys, threading, warnings
from daemon.cli import main
from daemon import store

trigger = pathlib.Path(sys.argv.pop(1))
kept = store.checkpoint

def checkpoint(*args):
    if trigger.exists():
        words = trigger.read_text()
        warnings.warn(words)
        logging.getLogger("libav.rtsp").error(words)
        def fail():
            raise ValueError(words)
        other = threading.Thread(target=fail)
        other.start()
        other.join()
        try:
            fail()
        except ValueError as error:
            raise RuntimeError([words, {"deep": words.encode()}]) from error
    kept(*args)

store.checkpoint = checkpoint
main()
"""


def forms_of(secret: str) -> list[str]:
    """As libraries, addresses, headers and JSON may hold it."""
    login = base64.b64encode(f"user:{secret}".encode()).decode()
    return [
        secret, quote(secret, safe=""), quote(secret), quote_plus(secret), repr(secret),
        json.dumps(secret), quote(secret, safe="").replace("%2F", "%2f"),
        f"rtsp://user:{secret}@10.0.0.5/stream?token={secret}",
        f"Authorization: Basic {login}",
    ]  # fmt: skip


def needles() -> list[bytes]:
    """The mark, and the mark as base64 writes it at each of three offsets."""
    inner = [base64.b64encode(b"\0" * pad + MARK.encode())[4:-4] for pad in range(3)]
    return [MARK.encode(), *inner]


def hits(text: bytes) -> list[bytes]:
    """What stands around each secret in `text`."""
    found = []
    for needle in needles():
        low, sought = (text, needle) if needle != needles()[0] else (text.lower(), needle)
        at = low.find(sought)
        if at >= 0:
            found.append(text[max(0, at - 120) : at + 60])
    return found


class _Gossip(BaseHTTPRequestHandler):
    """A camera over HTTP that refuses, and repeats the address in its refusal."""

    def do_GET(self) -> None:
        self.send_response(403, f"no {self.path}")
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def gossip() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Gossip)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


CONFIG = """
model: {{threads: 1}}
mqtt:
  broker: "127.0.0.1:{broker}"
  username: smolwatch
  password_file: "{folder}/broker_password"
  tls: true
  ca_file: "{ca}"
  cert_file: "{cert}"
  key_file: "{key}"
  key_password: "{{KEY}}"
  commands: full
cameras:
  right: {{source: "rtsp://cam:{{RIGHT}}@127.0.0.1:{rtsp}/stream", gate: always}}
  wrong: {{source: "rtsp://cam:{{WRONG}}@127.0.0.1:{rtsp}/stream"}}
  query: {{source: "http://127.0.0.1:{http}/snap.cgi?user=u&token={{TOKEN}}&x={{TOKEN}}"}}
  plain: {{source: "rtsp://cam:{plain}@127.0.0.1:{closed}/stream"}}
  xm: {{source: "rtsp://127.0.0.1:{closed}/user=admin_password={{XM}}_channel=1_stream=0"}}
log: {{events: "{folder}/state/events.jsonl", level: debug}}
store: {{path: "{folder}/state/smolwatch.db"}}
media: {{dir: "{folder}/state/media"}}
control: {{path: "{folder}/control.sock"}}
http: {{listen: "127.0.0.1:{web}", token: "{{HTTP}}"}}
rules:
  car: {{ask: "Did a car arrive?", cameras: [right], clip: {{}}, snapshot: true}}
"""


class Site:
    """The files that a configuration with secrets in all places needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.server = self.authority.issue("127.0.0.1")
        self.cert, key = self.authority.issue("box.lan", of="ours")
        loaded = serialization.load_pem_private_key(key.read_bytes(), None)
        key.write_bytes(
            loaded.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(SECRETS["KEY"].encode()),
            )
        )
        self.key = key
        (folder / "state").mkdir()
        credentials = folder / "credentials"
        credentials.mkdir()
        (credentials / "RIGHT").write_text(SECRETS["RIGHT"] + "\n")
        (credentials / "smolwatch_KEY").write_text(SECRETS["KEY"])
        (folder / "wrong").write_text(SECRETS["WRONG"])
        (folder / "broker_password").write_text(SECRETS["BROKER"])
        self.env = {
            **os.environ, "CREDENTIALS_DIRECTORY": str(credentials),
            "WRONG_FILE": str(folder / "wrong"), "TOKEN": SECRETS["TOKEN"],
            "XM": SECRETS["XM"], "HTTP": SECRETS["HTTP"],
        }  # fmt: skip
        self.config = folder / "smolwatch.yaml"

    def write(self, **ports: int) -> None:
        text = CONFIG.format(
            folder=self.folder, ca=self.authority.file, cert=self.cert, key=self.key,
            plain=quote(SECRETS["PLAIN"], safe=""), **ports,
        )  # fmt: skip
        self.config.write_text(text)

    def said_by(self, *command: str) -> bytes:
        """All that a command says."""
        run = subprocess.run(
            [sys.executable, "-m", "daemon.cli", *command], env=self.env, capture_output=True,
            timeout=100, check=False,
        )  # fmt: skip
        assert run.stdout or run.stderr
        return run.stdout + run.stderr


def control_replies(socket: Path) -> bytes:
    told: list[object] = []
    requests: list[dict[str, object]] = [
        {"op": "why", "camera": "wrong"}, {"op": "events"}, {"op": "dead-letters", "do": "list"},
        {"op": "ask", "camera": "wrong", "question": "Is there a car?"}, {"op": "nothing"},
    ]  # fmt: skip
    for request in requests:
        try:
            told += ask(socket, request)
        except ControlError as error:
            told.append(str(error))
    assert len(told) >= len(requests) - 1
    return json.dumps(told, ensure_ascii=False).encode()


def web_replies(port: int) -> bytes:
    told = b""
    asked = json.dumps({"camera": "wrong", "question": "Is there a car?"}).encode()
    for path, body in [
        ("healthz", None), ("readyz", None), ("metrics", None), ("api/status", None),
        ("api/cameras", None), ("api/events", None), ("api/ask", asked), ("nothing", None),
    ]:  # fmt: skip
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/{path}", body,
            {"Authorization": f"Bearer {SECRETS['HTTP']}", "Content-Type": "application/json"},
        )  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                told += answer.read() + str(answer.headers).encode()
        except urllib.error.HTTPError as error:
            with error:
                told += error.read() + str(error.headers).encode()
    assert told.count(b"wrong") >= 4
    return told


@pytest.mark.timeout(300)
def test_no_secret_gets_out(tmp_path: Path) -> None:
    site, trigger, web = Site(tmp_path), tmp_path / "trigger", free_port()
    plain_port, log_path = free_port(), tmp_path / "daemon.log"
    clip = write_numbered_clip(tmp_path / "numbers.mp4")
    users = {"smolwatch": SECRETS["BROKER"], "home": "assistant"}
    also_plain = [f"listener {plain_port} 127.0.0.1"]
    with (
        mosquitto(tmp_path, users, certificate=site.server, settings=also_plain) as broker,
        RtspServer(clip, login=Login("cam", SECRETS["RIGHT"])) as camera,
        gossip() as http,
        Subscriber(plain_port, "#", login=("home", "assistant")) as listener,
    ):
        site.write(broker=broker.port, rtsp=camera.port, http=http, closed=free_port(), web=web)
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(trigger), "run", "-c", str(site.config)],
                stdout=log, stderr=log, env=site.env,
            )  # fmt: skip
        try:
            listener.wait_for_state("smolwatch/right/availability", "online")

            def complained() -> bool:
                told = log_path.read_text()
                return all(
                    any(f'"camera": "{name}"' in line and '"cause"' in line for line in lines)
                    for lines in [told.splitlines()]
                    for name in ("wrong", "query", "plain", "xm")
                )

            wait_until(complained, "every other camera is complained of", 60)
            described = "smolwatch/right/description"
            wait_until(lambda: listener.on(described), "words", 90)
            listener.wait_for("smolwatch/bridge/health")
            told = control_replies(tmp_path / "control.sock")
            told += web_replies(web)
            told += site.said_by("check-config", "-c", str(site.config))
            told += site.said_by("mqtt", "check", "-c", str(site.config), "--json")
            told += site.said_by("doctor", "-c", str(site.config), "--json")
            told += site.said_by("describe", "wrong", "-c", str(site.config))
            trigger.write_text("\n".join(f for s in SECRETS.values() for f in forms_of(s)))
            assert process.wait(60) == 1
        finally:
            process.kill()
            process.wait(10)
    log_text = log_path.read_bytes()
    # The daemon did fail as it was meant to: otherwise nothing could have been found.
    for event in (b"worker.failed", b"process.failed", b"RuntimeError", b"libav.rtsp", b"***"):
        assert event in log_text
    assert hits(log_text) == []
    assert hits(told) == []
    for message in listener.messages:
        assert hits(message.topic.encode() + b" " + message.payload) == []
    written = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert {"events.jsonl", "smolwatch.db"} & {path.name for path in written}
    for path in written:
        assert hits(path.read_bytes()) == [], path


def test_what_is_searched_for_would_be_found() -> None:
    for secret in SECRETS.values():
        for form in forms_of(secret):
            assert hits(form.encode()), form


def test_a_configuration_shows_nothing_however_it_is_printed(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.write(broker=1, rtsp=2, http=3, closed=4, web=5)
    config = load_config(site.config, site.env)
    shown = f"{config} {config!r} {config.model_dump()} {config.model_dump_json()}"
    assert hits(shown.encode()) == []
    assert set(config.secret_values) >= {s for name, s in SECRETS.items() if name != "PLAIN"}


@pytest.mark.parametrize("broken", ["key_password: [", "key_password: 1", "password: [{}]"])
def test_a_broken_configuration_shows_nothing_either(tmp_path: Path, broken: str) -> None:
    site = Site(tmp_path)
    site.write(broker=1, rtsp=2, http=3, closed=4, web=5)
    text = site.config.read_text().replace("key_password:", f"{broken}\n  key_password:")
    site.config.write_text(text.replace("{XM}", SECRETS["XM"]))
    said = site.said_by("check-config", "-c", str(site.config))
    assert b"smolwatch.yaml:" in said
    assert hits(said) == []
