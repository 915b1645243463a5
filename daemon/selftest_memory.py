"""Which rules failed their selftest, and who is told?

Knows what selftests found, and the rules and the model of now: what was found for another question
or another model counts no more. Any thread may call.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

import structlog

from daemon.mqtt.records import RuleSetting
from daemon.store import Store
from pipelines.clock import Clock
from pipelines.rules import Rule

Json = dict[str, Any]
_KEPT: Final = ("rule", "question", "light", "passed", "problems")
_MOST: Final = 1000  # of one camera; the oldest go first


class SelftestMemory:
    """Keeps findings in the store, or, without one, until the process ends.

    `model_id` tells which model looks now. `rules`: camera -> its rules, by name. `armed`: those
    that may open at the start; what failed of them is warned of at once.
    """

    def __init__(
        self,
        store: Store | None,
        rules: Mapping[str, Mapping[str, Rule]],
        model_id: Callable[[], str],
        clock: Clock,
        armed: Mapping[str, Mapping[str, RuleSetting]] | None = None,
    ) -> None:
        self._store = store
        self._rules = rules
        self._model_id = model_id
        self._clock = clock
        self._lock = threading.Lock()
        self._found = {camera: self._recalled(camera) for camera in rules}
        self._armed: dict[str, frozenset[str]] = {}
        for camera, settings in (armed or {}).items():
            self.armed(camera, settings)

    def keep(self, camera: str, results: Iterable[Json]) -> None:
        """Take in findings (`Finding.as_json` with their `model`); raises `KeyError`, `TypeError`.

        A newer finding about the same question in the same light takes the older one's place.
        """
        with self._lock:
            known = {_key(found): found for found in self._found[camera]}
            for result in results:
                found = {key: result[key] for key in _KEPT}
                found |= {"model": result["model"], "at": self._clock.wall_time()}
                known.pop(_key(found), None)
                known[_key(found)] = found
            self._found[camera] = list(known.values())[-_MOST:]
            text = json.dumps(self._found[camera], ensure_ascii=False)
        if self._store is not None:
            self._store.remember(f"selftest/{camera}", text)
        self._warn(camera, self._armed.get(camera, frozenset()))

    def failed(self, camera: str) -> dict[str, str]:
        """Rule -> what its selftest found, for those that failed and are still asked the same."""
        told: dict[str, str] = {}
        model_id = self._model_id()
        with self._lock:
            for found in self._found.get(camera, ()):
                rule = self._rules[camera].get(found["rule"])
                if rule is None or found["passed"] or found["model"] != model_id:
                    continue
                if found["question"] in rule.questions:
                    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(found["at"]))
                    text = f"{found['question']!r} failed the selftest by {found['light']} ({when})"
                    told[rule.name] = f"{text}: {'; '.join(found['problems'])}"
        return told

    def armed(self, camera: str, rules: Mapping[str, RuleSetting]) -> None:
        """Take note of which rules may open from now on; warn of the failed ones that are new."""
        before = self._armed.get(camera, frozenset())
        self._armed[camera] = frozenset(name for name, rule in rules.items() if rule.armed)
        self._warn(camera, self._armed[camera] - before)

    def _warn(self, camera: str, rules: Collection[str]) -> None:
        for name, text in self.failed(camera).items():
            if name in rules:
                structlog.get_logger(__name__).warning(
                    "rule.selftest_failed", camera=camera, rule=name, found=text,
                    hint="put the question in other words, or disarm the rule; "
                    f"then: smolwatch selftest {name}",
                )  # fmt: skip

    def _recalled(self, camera: str) -> list[Json]:
        kept = self._store.recall(f"selftest/{camera}") if self._store is not None else None
        if kept is None:
            return []
        try:
            found = json.loads(kept[0])
            return [one for one in found if {*_KEPT, "model", "at"} <= one.keys()]
        except (AttributeError, TypeError, ValueError):
            return []  # another version's; the next selftest writes it anew


def _key(found: Json) -> tuple[str, str, str]:
    return str(found["rule"]), str(found["question"]), str(found["light"])
