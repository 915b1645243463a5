"""Where is the broker, and who are we there?

Knows no YAML: the app fills it in from the configuration, with the password already read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from daemon.mqtt.tls import TlsFiles


@dataclass(frozen=True, slots=True)
class MqttOptions:
    """Where the broker is and who we are there. `repr` leaves the password out."""

    host: str
    port: int = 1883
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    base_topic: str = "smolwatch"
    client_id: str = "smolwatch"  # one name, one client: a broker throws the older one out
    tls: TlsFiles | None = None  # None: the link is not encrypted
    protocol: Literal["auto", "3.1.1"] = "auto"  # auto: MQTT 5, and 3.1.1 where that is refused
    keepalive_s: int = 30  # a frozen broker is noticed within twice that

    @property
    def broker(self) -> str:
        """`host:port`, as shown to people."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
