"""What does `smolwatch describe` say of a recording or a camera?

Knows the model and the frames that `pipelines.footage` chooses; the command line is `daemon.cli`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

from daemon.config import Config
from pipelines.clock import Clock
from pipelines.errors import NoVideo
from pipelines.footage import (
    ONE_SPAN_S,
    SPAN_S,
    Manner,
    Span,
    duration_s,
    is_live,
    plan_spans,
    read_live,
    read_spans,
)
from pipelines.mask import Mask
from pipelines.requests import is_yes_or_no
from pipelines.rules import Rule
from pipelines.smolvlm2.model import SmolVLM2
from pipelines.smolvlm2.prompt import DESCRIBE_PROMPT, PICTURE_PROMPT
from pipelines.sources import SourceUrl
from pipelines.summary import Note, Summary, merge, summarize
from pipelines.types import Image, Observation

YES: Final = 0.5

Described = dict[str, Any]
Progress = Callable[[Iterator[Span], int], Iterator[Span]]


def describe(
    model: SmolVLM2,
    url: SourceUrl,
    questions: Sequence[str],
    clock: Clock,
    progress: Progress,
    manner: Manner,
) -> Described | list[Described]:
    """`{"description", "answers"}` of a short recording or a live stream; a list for a longer one.

    The entries of the list also have `start_s` and `end_s`. `progress` wraps the spans of a longer
    recording. Raises `SourceError` and `InferenceError`.
    """
    if is_live(url):
        return _look(model, read_live(url, clock, model.frame_edge_px, manner), questions)
    total_s = duration_s(url, clock)
    spans = plan_spans(total_s)
    found = read_spans(url, spans, clock, model.frame_edge_px, manner)
    if total_s <= ONE_SPAN_S:
        return next(_look(model, span, questions) for span in found)
    return [_timed_look(model, span, questions) for span in progress(found, len(spans))]


def describe_picture(model: SmolVLM2, image: Image, questions: Sequence[str]) -> Described:
    """`{"description", "answers"}` of one picture, uint8 RGB [H, W, 3].

    Questions that are not for yes or no are answered in words, under `words`, by a model that
    writes. Raises `InferenceError`.
    """
    in_words = [q for q in questions if model.writes and not is_yes_or_no(q, "")]
    asked = [question for question in questions if question not in in_words]
    prompt = PICTURE_PROMPT if model.writes else DESCRIBE_PROMPT
    told = _told(model.observe_picture(image, asked, prompt))
    if in_words:
        told["words"] = {q: model.observe_picture(image, (), q).description for q in in_words}
    return told


def describe_whole(
    model: SmolVLM2,
    url: SourceUrl,
    questions: Sequence[str],
    clock: Clock,
    progress: Progress,
    manner: Manner,
) -> Described:
    """A whole recording: its `summary`, by whom (`summary_by`), `timeline`, `counts`, `windows`.

    A model that cannot write, such as the bundled one, has its descriptions listed. Counts are
    counted here: stretches of the same description, and of yes to a question. Raises
    `SourceError` and `InferenceError`.
    """
    if is_live(url):
        raise NoVideo(
            f"{url} is a camera, it has no end: describe it without --summary, or ask the running "
            "daemon (smolwatch digest)"
        )
    spans = plan_spans(duration_s(url, clock), one_s=SPAN_S)
    found = progress(read_spans(url, spans, clock, model.frame_edge_px, manner), len(spans))
    windows = [_timed_look(model, span, questions) for span in found]
    notes = [Note(w["start_s"], w["end_s"], w["description"]) for w in windows]
    timeline = merge(notes, longest_gap_s=0.1)
    written = _written(model, timeline)
    listing = [f"{_clock(note.start)} to {_clock(note.end)}: {note.text}" for note in timeline]
    return {
        "summary": written.text or "\n".join(listing),
        "summary_by": "model" if written.text else "listing",
        "counts": {
            "descriptions": dict(Counter(note.text for note in timeline)),
            "answers": {asked: _times_yes(windows, asked) for asked in questions},
        },
        "timeline": [
            {"start_s": note.start, "end_s": note.end, "description": note.text}
            for note in timeline
        ],
        "windows": windows,
    }


def _written(model: SmolVLM2, notes: Sequence[Note]) -> Summary:
    tasks = summarize(notes, model, _clock)
    text: str | None = None
    while True:
        try:
            task = next(tasks) if text is None else tasks.send(text)
        except StopIteration as end:
            written: Summary = end.value
            return written
        *_, text = model.write(task.prompt, task.max_tokens)


def as_camera(config: Config, video: str) -> tuple[SourceUrl, Manner, tuple[Rule, ...]]:
    """What to look at, how, and by which rules: `video` may be a camera's name or its address.

    Another address is looked at as usual, by the rules of all cameras.
    """
    for name, camera in config.cameras.items():
        if video in (name, camera.source.secret):
            mask = Mask(camera.mask) if camera.mask else None
            manner = Manner(camera.window.num_frames, camera.window.interval_s, mask)
            return camera.source, manner, config.rules_for(name)
    rules = tuple(rule.made(name) for name, rule in config.rules.items())
    return SourceUrl(video), Manner(), rules


def _times_yes(windows: Sequence[Described], question: str) -> int:
    """How often a yes began."""
    yes = [window["answers"][question] >= YES for window in windows]
    return sum(now and not before for before, now in pairwise([False, *yes]))


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))


def _timed_look(model: SmolVLM2, span: Span, questions: Sequence[str]) -> Described:
    times = {"start_s": round(span.start_s, 2), "end_s": round(span.end_s, 2)}
    return times | _look(model, span, questions)


def _look(model: SmolVLM2, span: Span, questions: Sequence[str]) -> Described:
    return _told(model.observe_images(span.images, span.times_s, questions, DESCRIBE_PROMPT))


def _told(seen: Observation) -> Described:
    answers = {question: round(p_yes, 4) for question, p_yes in seen.answers.items()}
    return {"description": seen.description, "answers": answers}
