"""What does the daemon show of itself, besides what it tells over MQTT?

Knows figures, metrics and HTTP, and joins them; it is made once and outlives reloads: `show` says
whose figures they are now.
"""

from __future__ import annotations

from collections.abc import Mapping

from daemon.config_http import HttpConfig
from daemon.control import Answer
from daemon.figures import Gauges, Sources
from daemon.http_api import Services, http_app
from daemon.http_guard import Admission, Guard, own_names
from daemon.http_server import HttpServer
from daemon.http_tls import Certificate
from daemon.media_links import MediaLinks
from daemon.metered import Meters
from daemon.metrics import Exposition
from daemon.overview import overview_answers
from daemon.pulse import Pulse
from pipelines.clock import Clock

HTTP_BOUND_S = 30.0  # its loop turns five times a second, or waits for an address for 5 s


class Front:
    """The figures and whoever shows them. `http` None: nothing is answered over HTTP."""

    def __init__(self, config: HttpConfig | None, clock: Clock) -> None:
        self.meters = Meters()
        self.pulse = Pulse(clock)
        self.links = MediaLinks(
            config.base_url if config else None, config.plain_token if config else None
        )
        self._gauges = Gauges(clock)
        self._services = Services(
            self._gauges, Exposition(self._gauges, self.meters), self.pulse, self.links
        )
        self.http: HttpServer | None = None
        if config is not None:
            admission = Admission(config, self.links, own_names())
            app = Guard(http_app(self._services), admission)
            files = config.cert_file, config.key_file
            certificate = Certificate(files[0], files[1]) if files[0] is not None else None
            self.http = HttpServer(config.listen, app, clock, certificate)

    @property
    def answers(self) -> dict[str, Answer]:
        """What the control socket is to answer of it."""
        return overview_answers(self._gauges)

    def show(self, sources: Sources, answers: Mapping[str, Answer]) -> None:
        """From now on these parts' figures, and what they answer. From any thread."""
        settings = sources.settings
        self.meters.expect({name: settings.rules(name) for name in settings.cameras})
        self._gauges.sources = sources
        self._services.answers = answers
