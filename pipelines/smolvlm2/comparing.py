"""How does one look become several, where its questions show different pictures?

Knows no model. Pictures stand before the video in the prompt, so questions with other pictures
cannot share its reading: each set of them is a look of its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence

from pipelines.errors import InferenceError
from pipelines.examples import split_question
from pipelines.types import Look, Observation, Timings


def parts_of(look: Look) -> list[Look]:
    """The same window once for each set of reference pictures, and last without any.

    The part without any has the words to be made, and is there if it has anything to answer or if
    it is the only one.
    """
    sets: dict[str | None, list[str]] = {}
    for question in dict.fromkeys(look.questions):
        sets.setdefault(split_question(question)[1], []).append(question)
    plain = tuple(sets.pop(None, ()))
    parts = [Look(look.window, tuple(questions), None) for questions in sets.values()]
    if plain or look.prompt is not None or not parts:
        parts.append(Look(look.window, plain, look.prompt))
    return parts


def whole_of(
    look: Look, seen: Sequence[Observation | InferenceError]
) -> Observation | InferenceError:
    """What came of a look, of what came of its parts; the first failure if one failed."""
    found: list[Observation] = []
    for part in seen:
        if isinstance(part, InferenceError):
            return part
        found.append(part)
    if len(found) == 1:
        return found[0]
    answers = {question: p_yes for part in found for question, p_yes in part.answers.items()}
    hashes = [part.prompt_sha256 for part in found]
    return dataclasses.replace(
        found[-1],
        answers={question: answers[question] for question in dict.fromkeys(look.questions)},
        timings=_total([part.timings for part in found]),
        prompt_sha256=hashlib.sha256(json.dumps(hashes).encode()).hexdigest(),
    )


def _total(parts: Sequence[Timings]) -> Timings:
    return Timings(
        encode_ms=sum(part.encode_ms for part in parts),
        prefill_ms=sum(part.prefill_ms for part in parts),
        decode_ms=sum(part.decode_ms for part in parts),
        frames_encoded=sum(part.frames_encoded for part in parts),
        frames_reused=sum(part.frames_reused for part in parts),
    )
