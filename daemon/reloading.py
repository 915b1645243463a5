"""How is a changed configuration taken up, or refused?

Knows reading and checking; the parts are exchanged by the main thread (`daemon.running`). Whoever
asks is told at once what will be done: all that can be wrong has been tried by then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import structlog

from daemon.config import Config
from daemon.control import Answer, ControlError
from daemon.ground import Ground, lay_ground
from daemon.model_loader import Wish
from daemon.mqtt.options import MqttOptions
from daemon.reload_plan import Plan, plan_of
from pipelines.errors import SmolwatchError

Json = dict[str, Any]

log = structlog.get_logger(__name__)


class ReloadRefused(SmolwatchError):
    """It cannot be reloaded now."""


@dataclass(frozen=True, slots=True)
class Outside:
    """What comes from outside the daemon. They raise `SmolwatchError`."""

    read: Callable[[], Config]  # and check
    link: Callable[[Config, MqttOptions | None], MqttOptions | None]  # the earlier one given
    wish: Callable[[Config], Wish]
    taken_up: Callable[[Config], None]  # told when it holds: log levels, secrets to mask


@dataclass(frozen=True, slots=True)
class Prospect:
    """What is to be exchanged, checked and made, but not running."""

    plan: Plan
    ground: Ground
    wish: Wish | None  # a model to load


class Reloads:
    """Takes requests from any thread; `take` and `done` are the main thread's."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside
        self.problem: str | None = None  # why the newest configuration does not hold
        self._lock = threading.Lock()
        self._ground: Ground | None = None
        self._prospect: Prospect | None = None
        self._asked = threading.Event()

    def request(self) -> None:
        """Reload soon: from a signal, which may neither wait nor fail."""
        self._asked.set()

    def ask(self) -> Json:
        """Read, check, and have it taken up within a moment; what will be done.

        Raises `SmolwatchError` where the earlier configuration goes on.
        """
        with self._lock:
            if self._ground is None or self._prospect is not None:
                raise ReloadRefused("a reload is under way: ask again in a few seconds")
            try:
                plan, self._prospect = self._looked_into(self._ground)
            except SmolwatchError as error:
                self.problem = f"the changed configuration is not in use: {error}"
                log.warning("config.refused", error=str(error), hint="the earlier one goes on")
                raise
            self.problem = None
            if self._prospect is None:
                log.info("config.unchanged")
            return plan.as_json()

    @property
    def is_asked(self) -> bool:
        """Whether a signal has asked."""
        return self._asked.is_set()

    def take(self) -> Prospect | None:
        """What is to be exchanged now."""
        if self._asked.is_set():
            self._asked.clear()
            try:
                self.ask()
            except ReloadRefused:
                self._asked.set()  # a moment later
            except SmolwatchError:
                pass  # it was logged, and stands in health
        return self._prospect

    def done(self, ground: Ground) -> None:
        """Parts run on this ground now; other requests may come."""
        with self._lock:
            self._ground, self._prospect = ground, None

    def _looked_into(self, before: Ground) -> tuple[Plan, Prospect | None]:
        plan = plan_of(before.config, self.outside.read())
        config, slot = plan.config, before.edges.slot
        mqtt = self.outside.link(config, before.mqtt)
        failed = slot.state.phase == "failed"  # a reload tries that again
        wish = self.outside.wish(config) if plan.model or failed else None
        edge_px = wish.frame_edge_px if wish is not None else slot.frame_edge_px
        if wish is None and config == before.config and mqtt == before.mqtt:
            return plan, None
        ground = lay_ground(config, before.edges, mqtt, before, edge_px=edge_px)
        return plan, Prospect(plan, ground, wish)


def reload_answers(reload: Callable[[], Json] | None) -> dict[str, Answer]:
    """Operation -> what answers it, over the control socket."""

    def answer(_: Json) -> Iterator[Json]:
        if reload is None:
            raise ControlError("this smolwatch cannot reload its configuration: restart it")
        yield {"reload": reload()}

    return {"reload": answer}
