"""Is HTTP encrypted where a certificate is named, and what if that is of no use?"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from structlog.testing import capture_logs

from daemon.config import ConfigError, load_config
from daemon.config_http import HttpConfig
from daemon.front import Front
from daemon.healthcheck import is_well
from daemon.http_server import HttpServer
from daemon.http_tls import Certificate
from daemon.systemd import Heartbeat
from pipelines.clock import SystemClock
from tests.certificates import Authority
from tests.daemon.test_http import TOKEN, hello, serving
from tests.fakes import FakeClock
from tests.mosquitto import wait_until


def issued(folder: Path, name: str = "localhost") -> tuple[Authority, Path, Path]:
    authority = Authority(folder)
    return authority, *authority.issue(name)


def locked(key: bytes) -> bytes:
    """The key with a password."""
    secret = serialization.BestAvailableEncryption(b"secret")
    return serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret
    )


def shown(port: int, authority: Authority) -> int:
    """The number of the certificate that is shown to a client who knows the authority."""
    context = ssl.create_default_context(cafile=authority.file)
    with closing(
        http.client.HTTPSConnection("localhost", port, timeout=60, context=context)
    ) as link:
        link.connect()
        told = link.sock.getpeercert()
        link.request("GET", "/")
        assert link.getresponse().read() == b"hello"
    return int(told["serialNumber"], 16)


def test_it_is_encrypted_and_the_token_is_wanted_still(tmp_path: Path) -> None:
    authority, cert_file, key_file = issued(tmp_path)
    config = HttpConfig.model_validate(
        {
            "listen": "127.0.0.1:0", "token": TOKEN,
            "cert_file": str(cert_file), "key_file": str(key_file),
        }
    )  # fmt: skip
    with serving(Front(config, SystemClock()).http) as port:
        context = ssl.create_default_context(cafile=authority.file)
        with closing(
            http.client.HTTPSConnection("localhost", port, timeout=60, context=context)
        ) as link:
            link.request("GET", "/healthz")
            answer = link.getresponse()
            assert (answer.status, answer.read()) == (200, b'{"status":"ok"}')
            link.request("GET", "/api/status")
            assert link.getresponse().status == 401
        with socket.create_connection(("127.0.0.1", port), timeout=60) as plain:
            plain.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert not plain.recv(100).startswith(b"HTTP")


def test_old_tls_is_not_spoken(tmp_path: Path) -> None:
    _, cert_file, key_file = issued(tmp_path)
    context = Certificate(cert_file, key_file).context()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_container_asks_for_its_health(tmp_path: Path, *, encrypted: bool) -> None:
    _, cert_file, key_file = issued(tmp_path)
    files = {"cert_file": str(cert_file), "key_file": str(key_file)} if encrypted else {}
    front = Front(HttpConfig.model_validate({"listen": "127.0.0.1:0", **files}), SystemClock())
    with serving(front.http) as port:
        assert is_well(port)
        front.pulse.note([Heartbeat("capture yard", 0.0, 5.0)])
        assert not is_well(port)
    assert not is_well(port)


def test_key_and_certificate_may_be_one_file(tmp_path: Path) -> None:
    authority, cert_file, key_file = issued(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(cert_file.read_bytes() + key_file.read_bytes())
    server = HttpServer("127.0.0.1:0", hello, SystemClock(), Certificate(both, None))
    with serving(server) as port:
        assert shown(port, authority)


def test_a_renewed_certificate_is_shown_without_a_restart(tmp_path: Path) -> None:
    authority, cert_file, key_file = issued(tmp_path)
    certificate = Certificate(cert_file, key_file)
    clock = FakeClock()
    with serving(HttpServer("127.0.0.1:0", hello, clock, certificate)) as port:
        first = shown(port, authority)
        with capture_logs() as logs:
            authority.issue("elsewhere", of="other")
            key_file.write_bytes((tmp_path / "other.key").read_bytes())  # half of a pair
            clock.advance(61.0)
            wait_until(lambda: any(one["log_level"] == "warning" for one in logs), "it is told")
            assert "not the key of the certificate" in logs[-1]["error"]
            assert shown(port, authority) == first
            authority.issue("localhost")
            clock.advance(61.0)
            wait_until(lambda: shown(port, authority) != first, "the new one")


@pytest.mark.parametrize("fault", ["missing", "no PEM", "of another", "with a password"])
def test_one_that_is_of_no_use_is_told_once_and_tried_again(tmp_path: Path, fault: str) -> None:
    authority, cert_file, key_file = issued(tmp_path)
    good = key_file.read_bytes()
    if fault == "missing":
        key_file.unlink()
    elif fault == "no PEM":
        cert_file.write_text("certificate")
    elif fault == "of another":
        key_file.write_bytes(authority.issue("other")[1].read_bytes())
    else:
        key_file.write_bytes(locked(good))
    clock = FakeClock()
    server = HttpServer("127.0.0.1:0", hello, clock, Certificate(cert_file, key_file))
    stop = threading.Event()
    with capture_logs() as logs:
        thread = threading.Thread(target=server.run, args=(stop,))
        thread.start()
        wait_until(lambda: len(clock.waits) > 3, "attempts")
        assert server.port is None
        cert_file.write_bytes(authority.issue("localhost", of="new")[0].read_bytes())
        key_file.write_bytes((tmp_path / "new.key").read_bytes())
        wait_until(lambda: server.port is not None, "listening")
        stop.set()
        thread.join(20)
    assert not thread.is_alive()
    told, *more = [one for one in logs if one["log_level"] == "error"]
    assert told["error"] not in [one["error"] for one in more]  # but of files half exchanged
    assert told["event"] == "http.unavailable"
    assert "http.key_file" in told["error"] or "http.cert_file" in told["error"]
    assert fault != "missing" or str(key_file) in told["error"]
    assert good.decode() not in str(logs)


def test_who_does_not_end_the_handshake_is_hung_up_on(tmp_path: Path) -> None:
    _, cert_file, key_file = issued(tmp_path)
    certificate = Certificate(cert_file, key_file)
    server = HttpServer("127.0.0.1:0", hello, SystemClock(), certificate, head_s=0.5)
    with (
        serving(server) as port,
        socket.create_connection(("127.0.0.1", port), timeout=60) as link,
    ):
        assert link.recv(100) == b""


def test_a_key_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text('cameras: {a: {source: "scene://porch"}}\nhttp: {key_file: /x.key}\n')
    with pytest.raises(ConfigError, match=r"c.yaml:2: http.key_file: is of no use without `cert_f"):
        load_config(path, {})
