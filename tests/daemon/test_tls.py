"""Is the link to a real broker encrypted, and does every wrong certificate get its own words?"""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from structlog.typing import EventDict

from daemon.mqtt.options import MqttOptions
from daemon.mqtt.reasons import BrokerError
from daemon.mqtt.tls import TlsFiles
from tests.certificates import Authority
from tests.daemon.events import match
from tests.daemon.test_publisher import named, publishing
from tests.mosquitto import Mosquitto, mosquitto

# paho leaves the socket of a failed handshake to Python, which closes it, but not without a word.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def wants(authority: Authority) -> tuple[str, ...]:
    """Lines of a broker that asks clients for a certificate, and takes their names from it."""
    return (
        f"cafile {authority.file}", "require_certificate true", "use_identity_as_username true",
    )  # fmt: skip


def refusal(broker: Mosquitto, files: TlsFiles, logs: list[EventDict]) -> EventDict:
    """What is logged of a link that does not come about."""
    with publishing(broker.port, tls=files) as running:
        running.wait_for(lambda h: h.problem, "the problem shows")
        assert not running.publisher.health().connected
    (entry,) = named(logs, "mqtt.unavailable")
    return entry


def test_a_client_is_known_by_its_certificate(tmp_path: Path, authority: Authority) -> None:
    server, client = authority.issue("127.0.0.1"), authority.issue("box.lan", common_name="box")
    files = TlsFiles(authority.file, *client)
    # The list of topics is for the name in the certificate: with any other nothing is published.
    access = "user box\ntopic readwrite #\n"
    with (
        mosquitto(tmp_path, None, access, server, wants(authority)) as broker,
        publishing(broker.port, tls=files) as running,
    ):
        running.tell(match())
        running.wait_for(lambda h: h.published == 2, "published as the certificate's owner")
        assert running.publisher.health().refused == 0


def test_a_broker_that_wants_a_certificate_of_ours_is_said(
    tmp_path: Path, authority: Authority, logs: list[EventDict]
) -> None:
    server = authority.issue("127.0.0.1")
    with mosquitto(tmp_path, None, None, server, wants(authority)) as broker:
        entry = refusal(broker, TlsFiles(authority.file), logs)
    assert "mqtt.cert_file" in entry["error"]


def test_a_certificate_of_ours_from_another_ca_is_said(
    tmp_path: Path, authority: Authority, logs: list[EventDict]
) -> None:
    server = authority.issue("127.0.0.1")
    ours = Authority(tmp_path, "other").issue("box.lan", common_name="box")
    with mosquitto(tmp_path, None, None, server, wants(authority)) as broker:
        entry = refusal(broker, TlsFiles(authority.file, *ours), logs)
    assert "refuse the one it got" in entry["error"]


@pytest.mark.parametrize(
    ("name", "days", "said"),
    [
        ("127.0.0.1", -1.0, ("certificate has expired", "renew it")),
        ("other.lan", 2.0, ("not valid for '127.0.0.1'", "mqtt.broker")),
    ],
)
def test_a_wrong_certificate_of_the_broker_is_said(
    name: str, days: float, said: tuple[str, str], tmp_path: Path, authority: Authority,
    logs: list[EventDict],
) -> None:  # fmt: skip
    with mosquitto(tmp_path, certificate=authority.issue(name, days=days)) as broker:
        entry = refusal(broker, TlsFiles(authority.file), logs)
    assert entry["cause"] == "certificate"
    for words in said:
        assert words in entry["error"]


def test_another_ca_is_not_trusted(
    tmp_path: Path, authority: Authority, logs: list[EventDict]
) -> None:
    with mosquitto(tmp_path, certificate=authority.issue("127.0.0.1")) as broker:
        entry = refusal(broker, TlsFiles(Authority(tmp_path, "other").file), logs)
    assert (entry["cause"], "mqtt.ca_file" in entry["error"]) == ("certificate", True)


def test_tls_to_a_port_without_it_and_the_other_way_round(
    tmp_path: Path, authority: Authority, logs: list[EventDict]
) -> None:
    with mosquitto(tmp_path) as broker:
        assert refusal(broker, TlsFiles(authority.file), logs)["cause"] in {"tls", "unreachable"}
    logs.clear()
    with mosquitto(tmp_path, certificate=authority.issue("127.0.0.1")) as broker:
        with publishing(broker.port) as running:
            running.wait_for(lambda h: h.problem, "the problem shows")
        (entry,) = named(logs, "mqtt.unavailable")
    assert "does that port expect TLS?" in entry["error"]


def test_a_certificate_renewed_on_disk_is_taken_up_at_the_next_link(
    tmp_path: Path, authority: Authority
) -> None:
    server = authority.issue("127.0.0.1")
    certificate, key = authority.issue("box.lan", common_name="box", days=-1.0, of="ours")
    with (
        mosquitto(tmp_path, None, None, server, wants(authority)) as broker,
        publishing(broker.port, tls=TlsFiles(authority.file, certificate, key)) as running,
    ):
        running.wait_for(lambda h: h.problem, "the expired one is refused")
        authority.issue("box.lan", common_name="box", of="ours")
        running.wait_connected()
        assert running.publisher.health().problem is None


def test_a_certificate_that_is_gone_leaves_the_last_one(
    tmp_path: Path, authority: Authority, logs: list[EventDict]
) -> None:
    server = authority.issue("127.0.0.1")
    certificate, key = authority.issue("box.lan", common_name="box")
    with (
        mosquitto(tmp_path, None, None, server, wants(authority)) as broker,
        publishing(broker.port, tls=TlsFiles(authority.file, certificate, key)) as running,
    ):
        running.wait_connected()
        certificate.unlink()
        broker.stop()
        running.wait_for(lambda h: not h.connected, "the link is lost")
        broker.start()
        running.wait_connected()
    assert any("mqtt.cert_file" in entry["error"] for entry in named(logs, "mqtt.unavailable"))


def test_files_that_do_not_serve_are_named(tmp_path: Path, authority: Authority) -> None:
    certificate, key = authority.issue("box.lan")
    other = authority.issue("other.lan")[1]
    locked = tmp_path / "locked.key"
    made = serialization.load_pem_private_key(key.read_bytes(), None)
    locked.write_bytes(
        made.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"open sesame"),
        )
    )
    ca, missing = authority.file, tmp_path / "missing.pem"
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate\n")
    for files, said in (
        (TlsFiles(missing), r"mqtt\.ca_file .*missing\.pem"),
        (TlsFiles(garbage), r"mqtt\.ca_file .*garbage\.pem"),
        (TlsFiles(ca, missing), r"mqtt\.cert_file .*missing\.pem.*cannot be read"),
        (TlsFiles(ca, certificate, missing), r"mqtt\.key_file .*missing\.pem.*cannot be read"),
        (TlsFiles(ca, certificate, other), r"mqtt\.key_file .*not the key of the certificate"),
        (TlsFiles(ca, certificate, locked), r"encrypted: give its password as mqtt\.key_password"),
        (TlsFiles(ca, certificate, locked, "wrong"), r"does not open with mqtt\.key_password"),
        (TlsFiles(ca, garbage, key), r"mqtt\.cert_file .*both must be PEM"),
    ):
        with pytest.raises(BrokerError, match=said):
            files.context()
    assert TlsFiles(ca, certificate, locked, "open sesame").context() is not None
    together = tmp_path / "both.pem"
    together.write_bytes(certificate.read_bytes() + key.read_bytes())
    assert TlsFiles(ca, together).context() is not None


def test_the_keys_password_is_shown_nowhere(tmp_path: Path, authority: Authority) -> None:
    options = MqttOptions("h", tls=TlsFiles(authority.file, key_password="hunter2"))
    assert "hunter2" not in repr(options)
