"""What goes on as it was when the configuration changes, and what is closed?

Knows the earlier parts, which run no more, and the ground of the new ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from daemon.ground import Ground
from daemon.reload_plan import unchanged_rules
from pipelines.rules import RuleBook
from pipelines.types import Outcome

if TYPE_CHECKING:
    from daemon.app import App


class Handover:
    """`cameras`: those whose frames flow on. `rules`: of each, those that are judged as before."""

    def __init__(self, before: App, ground: Ground) -> None:
        self.before = before
        self._ground = ground
        earlier = before.ground.cameras
        self.cameras = tuple(
            name for name, parts in ground.cameras.items() if earlier.get(name) is parts
        )
        self.rules = {
            name: unchanged_rules(before.config, ground.config, name) for name in self.cameras
        }

    def books(self, books: Mapping[str, RuleBook]) -> None:
        """Let rules go on in their new books; what was open of the others is closed, and told."""
        for name in self.before.config.cameras:
            old = self.before.inference.book(name)
            self._close(name, old)
            if name in self.rules:
                books[name].take_over(old, self.rules[name])

    def _close(self, camera: str, book: RuleBook) -> None:
        clock, kept = self._ground.edges.clock, self.rules.get(camera, frozenset())
        gone = [name for name in book.open_incidents if name not in kept]
        events = book.settle(
            "the configuration was changed", clock.monotonic_s(), clock.wall_time(), gone
        )
        if events:
            self.before.ground.sink.publish(Outcome(camera, None, {}, events, book.memory()))
