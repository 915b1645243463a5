"""Why is there no link to the broker, and what can be done about it?

Knows no connection: an error or a reason code in, a short cause and a sentence out.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from pipelines.errors import SmolwatchError

MQTT5 = MQTTProtocolVersion.MQTTv5
MQTT311 = MQTTProtocolVersion.MQTTv311
UNSUPPORTED_PROTOCOL = 0x84  # MQTT 5, 3.2.2.2; paho turns 3.1.1's return code 1 into it
_AUTH_REASONS = {0x86: "bad_password", 0x87: "not_authorized", 0x8C: "auth_method"}
_AUTH_CAUSES = frozenset(_AUTH_REASONS.values())


class BrokerError(SmolwatchError):
    """The broker's settings cannot work, or the embedded broker cannot start: fatal at start."""


@dataclass(frozen=True, slots=True)
class Problem:
    """`cause` is one word for logs and comparisons, `message` says what to do."""

    cause: str
    message: str

    @property
    def needs_a_person(self) -> bool:
        """Retried slowly: it will not mend itself, and brokers ban those who keep asking."""
        return self.cause in _AUTH_CAUSES


def connect_failed(error: BaseException, broker: str, *, tls: bool) -> Problem:
    """Why no TCP or TLS connection came about. `broker` is `host:port`."""
    match error:
        case socket.gaierror():
            return Problem(
                "unresolvable",
                f"the broker's name in {broker} cannot be resolved ({error.strerror}): check "
                "mqtt.broker for a typing error, or use the broker's IP address",
            )
        case ConnectionRefusedError():
            return Problem(
                "refused",
                f"nothing listens on {broker}: start the broker, or correct mqtt.broker "
                "(Mosquitto listens on localhost only until it has a `listener` line)",
            )
        case TimeoutError():
            return Problem(
                "timeout",
                f"{broker} does not answer: is it switched on, and does a firewall let port "
                f"{broker.rpartition(':')[2]} through?",
            )
        case ssl.SSLCertVerificationError():
            return Problem("certificate", _untrusted(error, broker))
        case ssl.SSLError():
            why = getattr(error, "reason", error)
            return Problem(
                "tls",
                f"{broker} does not speak TLS as expected ({why}): usual ports are 8883 with TLS "
                "and 1883 without",
            )
    hint = "check mqtt.tls and mqtt.broker" if tls else "check mqtt.broker and the network"
    return Problem("unreachable", f"{broker} cannot be reached ({error}): {hint}")


# OpenSSL's X509_V_ERR_ numbers (x509_vfy.h) that have a remedy of their own.
_NOT_YET_VALID, _EXPIRED = 9, 10
_OTHER_NAME = (62, 64)  # host name, IP address


def _untrusted(error: ssl.SSLCertVerificationError, broker: str) -> str:
    why = getattr(error, "verify_message", str(error))
    code = getattr(error, "verify_code", None)
    hint = "set mqtt.ca_file to the CA that signed it"
    if code == _EXPIRED:
        hint = "renew it on the broker, or correct this machine's clock"
    elif code == _NOT_YET_VALID:
        hint = "is this machine's clock right?"
    elif code in _OTHER_NAME:
        hint = "name the broker in mqtt.broker as its certificate does (smolwatch mqtt check)"
    return f"the certificate of {broker} is not trusted ({why}): {hint}"


def connect_refused(reason: ReasonCode, broker: str) -> Problem:
    """Why the broker answered CONNECT with a no."""
    words = str(reason)
    if reason.value in _AUTH_REASONS:
        return Problem(
            _AUTH_REASONS[reason.value],
            f"{broker} refuses the user name or password (its words: {words}): check "
            "mqtt.username and mqtt.password_file against the broker's users",
        )
    hints = {
        UNSUPPORTED_PROTOCOL: "it speaks an older MQTT",
        0x85: "set another mqtt.client_id",
        0x88: "it is starting or shutting down",
        0x89: "it has too many clients",
        0x9A: "turn retained messages on there (Mosquitto: retain_available true)",
        0x9B: "let it take messages of QoS 1 (Mosquitto: max_qos 1)",
        0x8A: "this client is banned there: see its log",
        0x9F: "too many connections in a short time",
    }
    hint = hints.get(reason.value, "see the broker's log")
    return Problem(f"rejected_{reason.value:#04x}", f"{broker} refuses us ({words}): {hint}")


def link_lost(
    reason: ReasonCode | None, broker: str, *, accepted: bool, tls: bool = False
) -> Problem:
    """Why a connection ended. `accepted`: the broker had answered CONNECT with a yes.

    With TLS 1.3 a broker that wants a certificate of ours, or refuses it, says so only after its
    own half of the handshake (RFC 8446, 4.4.2.4), and paho passes on no more than the end.
    """
    # What paho makes up for a line that simply broke tells nothing: 0x80, "Unspecified error".
    told = reason is not None and reason.value not in (0x00, 0x80)
    words = str(reason) if told else "without a word"
    if not accepted:
        hint = (
            "does it want a certificate of ours (mqtt.cert_file), or refuse the one it got?"
            if tls
            else "is it an MQTT broker, and does that port expect TLS?"
        )
        return Problem(
            "closed",
            f"{broker} closed the connection without an answer to CONNECT ({words}): {hint}",
        )
    if reason is not None and reason.value == 0x8E:
        return Problem(
            "taken_over",
            f"another client with the same name connected to {broker}: give each smolwatch its "
            "own mqtt.client_id",
        )
    # Mosquitto 2.0.11 throws out the older of two clients of one name without saying so.
    return Problem(
        "lost",
        f"the connection to {broker} was lost ({words}); if that goes on, see the broker's log, "
        "and that no other client has our mqtt.client_id",
    )


def nonsense(error: Exception, broker: str) -> Problem:
    """Why paho gave up over a host name it cannot encode or bytes it cannot read."""
    return Problem(
        "not_mqtt",
        f"{broker} is no usable host name, or does not speak MQTT ({type(error).__name__}: "
        f"{error}): check mqtt.broker and its port",
    )


def next_protocol(
    tried: MQTTProtocolVersion, *, refused: bool, silent: bool, worked: MQTTProtocolVersion | None
) -> MQTTProtocolVersion:
    """Which MQTT to speak at the next attempt.

    `refused`: the broker said that it does not know the version. `silent`: it closed the
    connection without any answer, or gave none in time, as some brokers for 3.1.1 do. `worked`:
    the version that was accepted last; it is not given up over a silence, a restart causes one.
    """
    other = MQTT311 if tried == MQTT5 else MQTT5
    if refused or (silent and worked is None):
        return other
    return tried if worked is None else worked
