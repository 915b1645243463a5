"""What does `smolwatch describe` say of a recording or a camera?

Knows the model and the frames that `pipelines.footage` chooses; the command line is `daemon.cli`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pipelines.clock import Clock
from pipelines.footage import (
    ONE_SPAN_S,
    Span,
    duration_s,
    is_live,
    plan_spans,
    read_live,
    read_spans,
)
from pipelines.smolvlm2.model import SmolVLM2
from pipelines.smolvlm2.prompt import DESCRIBE_PROMPT
from pipelines.sources import SourceUrl

Described = dict[str, object]
Progress = Callable[[Iterator[Span], int], Iterator[Span]]


def describe(
    model: SmolVLM2,
    url: SourceUrl,
    questions: Sequence[str],
    clock: Clock,
    progress: Progress,
) -> Described | list[Described]:
    """`{"description", "answers"}` of a short recording or a live stream; a list for a longer one.

    The entries of the list also have `start_s` and `end_s`. `progress` wraps the spans of a longer
    recording. Raises `SourceError` and `InferenceError`.
    """
    if is_live(url):
        return _look(model, read_live(url, clock, model.frame_edge_px), questions)
    total_s = duration_s(url, clock)
    spans = plan_spans(total_s)
    found = read_spans(url, spans, clock, model.frame_edge_px)
    if total_s <= ONE_SPAN_S:
        return next(_look(model, span, questions) for span in found)
    return [
        {"start_s": round(span.start_s, 2), "end_s": round(span.end_s, 2)}
        | _look(model, span, questions)
        for span in progress(found, len(spans))
    ]


def _look(model: SmolVLM2, span: Span, questions: Sequence[str]) -> Described:
    seen = model.observe_images(span.images, span.times_s, questions, DESCRIBE_PROMPT)
    answers = {question: round(p_yes, 4) for question, p_yes in seen.answers.items()}
    return {"description": seen.description, "answers": answers}
