"""What would a rule have told of these recordings, and is that right?

Knows the configuration, recordings or stored looks, and the truth where there is one; it shows
nothing (`daemon.backtest_text`, `backtest_page`). Answers are computed once; every threshold is
tried on them.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from daemon import backtest_score as scoring
from daemon.backtest_files import Recording, url_of
from daemon.backtest_score import Proposal, Score, Trial
from daemon.config import Config
from daemon.config_errors import did_you_mean
from daemon.truth import TrueSpan
from pipelines.errors import SmolwatchError
from pipelines.ids import new_ulid
from pipelines.inference import Describing
from pipelines.playback import Playback, PlayClock, View
from pipelines.rules import Rule, RuleBook
from pipelines.rules.conditions import needs_words
from pipelines.rules.replay import Break, IncidentSpan, Judged, incident_spans, replay
from pipelines.smolvlm2.prompt import DESCRIBE_PROMPT
from pipelines.sources import open_source
from pipelines.types import Observation, VideoModel
from pipelines.zones import Zone


class BacktestError(SmolwatchError):
    """The rule cannot be tried; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The rule that is tried, and what is judged along with it."""

    camera: str
    rule: Rule
    rules: tuple[Rule, ...]  # those that it refers to, and itself

    def book(self, name: str, open_above: float, close_below: float) -> RuleBook:
        """The rules, beginning closed, with other thresholds for the one that is tried."""
        tried = dataclasses.replace(self.rule, open_above=open_above, close_below=close_below)
        rules = (tried if rule.name == tried.name else rule for rule in self.rules)
        return RuleBook(name, rules, new_ulid)


@dataclass(frozen=True, slots=True)
class Reel:
    """The looks at one recording, or at a stretch of a camera's past."""

    name: str
    length_s: float
    begun: float  # Unix seconds of its second 0
    looks: tuple[Observation, ...]  # `camera` is the same in all
    places_s: Mapping[float, float] = field(default_factory=dict)  # `end_s` -> recording's second
    thumbnails: Mapping[float, bytes] = field(default_factory=dict)  # second -> JPEG
    breaks: tuple[Break, ...] = ()
    windows_run: int = 0
    windows_gated: int = 0
    windows_failed: int = 0

    def place_s(self, captured_s: float) -> float:
        """The recording's second of a look's time."""
        return self.places_s.get(captured_s, captured_s)


@dataclass(frozen=True, slots=True)
class Tried:
    """What the rule, as it is configured, made of one reel; times are the reel's seconds."""

    reel: Reel
    scores: tuple[tuple[float, float], ...]  # (window's end, how true the rule's condition is)
    answers: Mapping[str, tuple[tuple[float, float], ...]]  # question -> (window's end, p_yes)
    incidents: tuple[IncidentSpan, ...]
    truth: tuple[TrueSpan, ...] | None  # None: nobody said what happened


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that there is to show."""

    subject: Subject
    model_id: str
    tried: tuple[Tried, ...]
    failures: Mapping[str, str]  # recording -> why it could not be tried
    score: Score | None = None  # None without truth
    trials: tuple[Trial, ...] = ()
    proposal: Proposal | None = None
    warnings: tuple[str, ...] = ()


def subject_of(config: Config, name: str, camera: str | None) -> Subject:
    """The rule `name` as it is judged on `camera`. Raises `BacktestError`."""
    if name not in config.rules:
        there = ", ".join(config.rules) or "none"
        raise BacktestError(
            f"there is no rule '{name}'.{did_you_mean(name, config.rules)} There are: {there}"
        )
    on = [c for c in config.cameras if name in {rule.name for rule in config.rules_for(c)}]
    if camera is None:
        if len(on) > 1:
            raise BacktestError(
                f"rule {name} is judged on {', '.join(on)}, which may differ in window, gate and "
                "mask: say as which of them the recordings are to be looked at, with --camera"
            )
        camera = on[0]
    if camera not in on:
        raise BacktestError(f"rule {name} is not judged on '{camera}', but on {', '.join(on)}")
    known = {rule.name: rule for rule in config.rules_for(camera)}
    wanted: dict[str, None] = {}
    waiting = [name]
    while waiting:
        wanted[waiting[0]] = None
        waiting += [n for n in known[waiting.pop(0)].references if n not in wanted]
    return Subject(
        camera, known[name], tuple(rule for rule in known.values() if rule.name in wanted)
    )


def view_of(config: Config, subject: Subject, name: str) -> View:
    """How a recording is looked at as the subject's camera would be."""
    camera = config.cameras[subject.camera]
    rules = subject.rules
    words = any(needs_words(rule.condition) for rule in rules)
    if not any(rule.questions for rule in rules):
        # A camera that is asked nothing has all its windows described; one that is, has not.
        rules = config.rules_for(subject.camera)
    said = camera.describe
    prompt = (said.prompt if said else None) or DESCRIBE_PROMPT
    names = {rule.name for rule in rules}
    outlines = [rule.zone for key, rule in config.rules.items() if key in names]
    return View(
        name=name,
        plan=camera.plan(),
        rules=rules,
        prompt=prompt,
        describing=Describing(said.every_s, prompt) if said and words else None,
        mask=camera.mask,
        zones=tuple(dict.fromkeys(Zone.around(o) for o in outlines if o is not None)),
    )


def play(
    config: Config, subject: Subject, model: VideoModel, recording: Recording, name: str
) -> Iterator[float | Reel]:
    """Play one recording: the seconds played so far, again and again, and the reel at last.

    `name`: another one for each recording. Raises `SourceError` and `InferenceError`.
    """
    clock = PlayClock(recording.begun)
    decode = config.cameras[subject.camera].decode
    source = open_source(url_of(recording.path), clock, decode=decode)
    playback = Playback(model, source, clock, view_of(config, subject, name))
    for _ in playback.run(threading.Event()):
        yield playback.length_s
    counts = playback.counts
    looks = playback.looks
    times = {at_s for look in looks for at_s in (look.start_s, look.end_s)}
    yield Reel(
        name=recording.name,
        length_s=max(recording.length_s, playback.length_s),
        begun=recording.begun,
        looks=looks,
        places_s={at_s: playback.place_s(at_s) for at_s in times},
        thumbnails={playback.place_s(at_s): jpeg for at_s, jpeg in playback.thumbnails.items()},
        windows_run=counts.ran,
        windows_gated=counts.gated,
        windows_failed=counts.failed,
    )


def try_rule(subject: Subject, reel: Reel, truth: tuple[TrueSpan, ...] | None) -> Tried:
    """Judge one reel by the rule as it is configured."""
    judged = _judged(subject, reel, subject.rule.open_above, subject.rule.close_below)
    answers: dict[str, list[tuple[float, float]]] = {q: [] for q in subject.rule.questions}
    for look in reel.looks:
        for question, found in answers.items():
            if question in look.answers:
                found.append((reel.place_s(look.end_s), look.answers[question]))
    return Tried(
        reel=reel,
        scores=tuple(
            (reel.place_s(step.seen.end_s), step.score)
            for step in judged
            if step.seen is not None and step.score is not None
        ),
        answers={question: tuple(found) for question, found in answers.items()},
        incidents=_placed(reel, incident_spans(judged)),
        truth=truth,
    )


def conclude(
    subject: Subject,
    model_id: str,
    tried: Sequence[Tried],
    failures: Mapping[str, str],
    tolerance_s: float,
) -> Result:
    """Hold it against the truth where there is one, and try other thresholds."""
    known = [one for one in tried if one.truth is not None]
    result = Result(subject, model_id, tuple(tried), dict(failures))
    if not known:
        return result
    found = scoring.score([(one.incidents, one.truth or ()) for one in known], tolerance_s)
    true_s = sum(span.end_s - span.start_s for one in known for span in one.truth or ())
    said = scoring.warnings(found, sum(one.reel.length_s for one in known), true_s)
    trials: tuple[Trial, ...] = ()
    proposal = None
    if subject.rule.questions:
        trial = _trial(subject, known, tolerance_s)
        trials = scoring.sweep(subject.rule, trial)
        if found.expected:
            proposal = scoring.propose(subject.rule, trials, trial)
    else:
        said.append("the rule asks no question: there is no threshold to choose")
    return dataclasses.replace(
        result, score=found, trials=trials, proposal=proposal, warnings=tuple(said)
    )


def _trial(
    subject: Subject, known: Sequence[Tried], tolerance_s: float
) -> Callable[[float, float], Score]:
    tried: dict[tuple[float, float], Score] = {}

    def trial(open_above: float, close_below: float) -> Score:
        key = (open_above, close_below)
        if key not in tried:
            found = [
                (
                    _placed(one.reel, incident_spans(_judged(subject, one.reel, *key))),
                    one.truth or (),
                )
                for one in known
            ]
            tried[key] = scoring.score(found, tolerance_s)
        return tried[key]

    return trial


def _judged(subject: Subject, reel: Reel, open_above: float, close_below: float) -> list[Judged]:
    name = reel.looks[0].camera if reel.looks else subject.camera
    book = subject.book(name, open_above, close_below)
    return list(replay(book, subject.rule.name, reel.looks, reel.breaks))


def _placed(reel: Reel, spans: Sequence[IncidentSpan]) -> tuple[IncidentSpan, ...]:
    return tuple(
        dataclasses.replace(
            span,
            evidence_s=reel.place_s(span.evidence_s),
            opened_s=reel.place_s(span.opened_s),
            closed_s=None if span.closed_s is None else reel.place_s(span.closed_s),
        )
        for span in spans
    )
