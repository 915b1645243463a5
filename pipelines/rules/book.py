"""What does one camera ask, and what is told of the answers?

Knows neither model nor topics: observations come in, events go out. A book belongs to the one
thread that judges its camera's windows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from pipelines.rules import incident as incidents
from pipelines.rules.conditions import Facts, Score, Sequence, needs_words, score
from pipelines.rules.incident import Decision, Incident, NewId, RuleState
from pipelines.rules.memory import Memory, dump, load
from pipelines.rules.order import judging_order
from pipelines.rules.rule import Rule
from pipelines.rules.sequence import advance, last_score
from pipelines.rules.why import verdict
from pipelines.types import Event, Observation, Timings


class RuleBook:
    """The rules of one camera and what they remember of it.

    `new_id` makes the ids of events and incidents (`pipelines.ids.new_ulid`; tests count).
    """

    def __init__(self, camera: str, rules: Iterable[Rule], new_id: NewId) -> None:
        self.camera = camera
        self._rules = {rule.name: rule for rule in rules}
        order = judging_order({rule.name: rule.references for rule in self._rules.values()})
        self._in_order = tuple(self._rules[name] for name in order)
        self._disarmed: set[str] = set()
        self._states = dict.fromkeys(self._rules, RuleState())
        self._new_id = new_id
        self._last: Observation | None = None
        self._verdicts: dict[str, str] = {}

    @property
    def rules(self) -> tuple[Rule, ...]:
        """In the order of the configuration."""
        return tuple(self._rules.values())

    @property
    def questions(self) -> tuple[str, ...]:
        """What every window is asked: each text once, in the order of the rules."""
        asked = (question for rule in self._rules.values() for question in rule.questions)
        return tuple(dict.fromkeys(asked))

    @property
    def open_incidents(self) -> dict[str, Incident]:
        """Rule name -> its incident, for the rules that are on."""
        states = self._states.items()
        return {name: state.incident for name, state in states if state.incident is not None}

    @property
    def wants_words(self) -> bool:
        """Whether an open incident of a rule with `describe` still has no words.

        True right after its alert, and on later windows too if describing failed. The caller
        sends what `judge` gave, describes the window, and then sends what `add_words` gives.
        """
        return any(self._lacks_words(name, found) for name, found in self.open_incidents.items())

    @property
    def verdicts(self) -> Mapping[str, str]:
        """Rule name -> what the last judged window came to, in the words of the configuration."""
        return dict(self._verdicts)

    def memory(self) -> str | None:
        """All that `recall` needs to go on from here; None while there is nothing."""
        last = self._last
        if last is None and not self._disarmed:
            return None
        disarmed = tuple(sorted(self._disarmed))
        if last is None:
            return dump(Memory(self._states, 0.0, 0.0, "", "", disarmed))
        asked = (last.model_id, last.prompt_sha256)
        return dump(Memory(self._states, last.end_s, last.wall_time, *asked, disarmed))

    def recall(self, memory: str, offset_s: float) -> bool:
        """Go on from what an earlier book remembered; False for what cannot be read.

        `offset_s` is monotonic minus wall time, now. Rules that are new begin closed, what was
        remembered of rules that are gone is forgotten.
        """
        found = load(memory, offset_s)
        if found is None:
            return False
        self._states.update({n: s for n, s in found.states.items() if n in self._rules})
        self._disarmed = set(found.disarmed) & set(self._rules)
        self._last = Observation(
            camera=self.camera, window_seq=-1, start_s=found.at_s, end_s=found.at_s,
            wall_time=found.wall_time, answers={}, description=None, timings=Timings(),
            model_id=found.model_id, prompt_sha256=found.prompt_sha256,
        )  # fmt: skip
        return True

    def take_over(self, before: RuleBook, names: Iterable[str]) -> None:
        """Go on from what another book of this camera remembers of these rules."""
        for name in names:
            self._states[name] = before._states[name]
        self._disarmed = before._disarmed & set(self._rules)
        self._last = before._last

    @property
    def disarmed(self) -> frozenset[str]:
        """The rules that were told to stay quiet."""
        return frozenset(self._disarmed)

    def arm(self, rule: str, now_s: float, wall_time: float, *, armed: bool) -> tuple[Event, ...]:
        """Let a rule open, or not: what is open is then closed. Raises `KeyError`."""
        name = self._rules[rule].name
        if armed:
            self._disarmed.discard(name)
            return ()
        self._disarmed.add(name)
        return self._settled([name], "the rule was disarmed", now_s, wall_time)

    def tune(self, rule: Rule) -> None:
        """Judge the rule of that name by other thresholds. Raises `KeyError`.

        What is open stays open, until answers close it by the new ones.
        """
        if rule.name not in self._rules:
            raise KeyError(rule.name)
        self._rules[rule.name] = rule
        self._in_order = tuple(self._rules[known.name] for known in self._in_order)
        self._states[rule.name] = incidents.forget_votes(self._states[rule.name])

    def judge(self, observation: Observation) -> tuple[Event, ...]:
        """Tell what one window changed: matches and clears in the order of the rules, then words.

        Where the window was described anyway, an alert that wants words has them at once, and the
        rules that need words are judged too. A question without an answer (it was not asked of
        this window) changes nothing. Raises `ValueError` for another camera's observation.
        """
        self._verdicts = {}
        return (*self._judge(observation, only_words=False), *self.add_words(observation))

    def judge_words(self, observation: Observation) -> tuple[Event, ...]:
        """`judge` for the words of a window whose answers were judged before.

        `observation` holds both; only what needs words is judged. Then `add_words`.
        """
        self._verdicts = {}
        return (*self._judge(observation, only_words=True), *self.add_words(observation))

    def _judge(self, observation: Observation, *, only_words: bool) -> list[Event]:
        self._check_camera(observation)
        self._last = observation
        told: dict[str, Event] = {}
        for rule in self._in_order:
            if only_words and not needs_words(rule.condition):
                continue
            event = self._judge_rule(rule, observation, only_words=only_words)
            if event is not None:
                told[rule.name] = event
        return [told[name] for name in self._rules if name in told]

    def _judge_rule(
        self, rule: Rule, observation: Observation, *, only_words: bool
    ) -> Event | None:
        facts = Facts(observation.answers, observation.description, self.open_incidents.keys())
        state, now_s = self._states[rule.name], observation.end_s
        shown: Score | None = None
        if isinstance(rule.condition, Sequence):
            state, true = advance(rule, state, facts, now_s, only_words=only_words)
            found, shown = Score(true, true), last_score(rule, facts)
        else:
            found = score(rule.condition, facts)
        armed = rule.name not in self._disarmed
        in_hours = rule.active is None or rule.active.hold(observation.wall_time)
        state, decision = incidents.update(
            rule, state, found, now_s, self._new_id, may_open=armed and in_hours
        )
        self._states[rule.name] = state
        self._verdicts[rule.name] = verdict(
            rule, state, found, now_s, armed=armed, in_hours=in_hours
        )
        if decision is None:
            return None
        if shown is not None:
            decision = dataclasses.replace(decision, score=shown.point)
        return self._decided(rule, decision, observation)

    def add_words(self, observation: Observation) -> tuple[Event, ...]:
        """`rule_update`s with the observation's description, for the incidents that want it.

        Answers are not judged, so it may be of a window that was judged before. Raises
        `ValueError` for another camera's observation.
        """
        self._check_camera(observation)
        if observation.description is None:
            return ()
        events = []
        for name, found in self.open_incidents.items():
            if self._lacks_words(name, found):
                rule = self._rules[name]
                self._states[name] = incidents.add_words(self._states[name], observation.end_s)
                update = Decision("rule_update", found, self.score_of(name, observation))
                events.append(self._event(rule, update, observation, observation.description))
        return tuple(events)

    def settle(
        self, reason: str, now_s: float, wall_time: float, names: Iterable[str] | None = None
    ) -> tuple[Event, ...]:
        """`rule_clear`s for all that is open: the camera is lost, or the daemon ends.

        `reason` becomes the text of the events ("the camera is offline"); they have no score.
        `names`: only of these rules.
        """
        return self._settled(self._rules if names is None else names, reason, now_s, wall_time)

    def _settled(
        self, names: Iterable[str], reason: str, now_s: float, wall_time: float
    ) -> tuple[Event, ...]:
        if self._last is None:
            return ()
        about = dataclasses.replace(
            self._last, end_s=now_s, wall_time=wall_time, timings=Timings(), camera_time=None
        )
        events = []
        for rule in (self._rules[name] for name in names):
            self._states[rule.name], decision = incidents.settle(self._states[rule.name], now_s)
            if decision is not None:
                events.append(self._event(rule, decision, about, reason))
        return tuple(events)

    def score_of(self, name: str, observation: Observation) -> float | None:
        """How true a rule's condition is of a window that was just judged; None if not known.

        Of a sequence it is that of its last step. Raises `KeyError`.
        """
        rule = self._rules[name]
        facts = Facts(observation.answers, observation.description, self.open_incidents.keys())
        if isinstance(rule.condition, Sequence):
            return last_score(rule, facts).point
        return score(rule.condition, facts).point

    def _lacks_words(self, name: str, found: Incident) -> bool:
        return self._rules[name].describe and not found.has_words

    def _check_camera(self, observation: Observation) -> None:
        if observation.camera != self.camera:
            message = f"an observation of {observation.camera} came to the rules of {self.camera}"
            raise ValueError(message)

    def _decided(self, rule: Rule, decision: Decision, observation: Observation) -> Event:
        words = None
        if decision.event_type == "rule_match" and rule.describe:
            words = observation.description
        if words is not None:
            told = incidents.add_words(self._states[rule.name], observation.end_s)
            self._states[rule.name] = told
        return self._event(rule, decision, observation, words)

    def _event(self, rule: Rule, decision: Decision, about: Observation, text: str | None) -> Event:
        return Event(
            event_id=self._new_id(),
            incident_id=decision.incident.incident_id,
            event_type=decision.event_type,
            camera=self.camera,
            rule=rule.name,
            severity=rule.severity,
            score=decision.score,
            wall_time=about.wall_time,
            captured_s=about.end_s,
            text=text,
            timings=about.timings,
            model_id=about.model_id,
            prompt_sha256=about.prompt_sha256,
            camera_time=about.camera_time,
        )
