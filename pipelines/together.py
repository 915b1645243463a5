"""How do the stories of several windows share the model?

Knows no rules, no cameras and no schedule. A story is a generator that tells what becomes of one
window: it yields the looks that it wants next and is given what the model saw. Stories are told
side by side, and their looks go to the model together. None waits for company: what is due is told
at once, and whatever comes due meanwhile goes together next.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from pipelines.errors import InferenceError
from pipelines.types import Look, Observation, VideoModel

Story = Generator[Sequence[Look], Sequence[Observation], None]
Looking = Generator[Sequence[Look], Sequence[Observation], Sequence[Observation]]  # a part of one


def tell_together(model: VideoModel, stories: Sequence[Story]) -> list[InferenceError | None]:
    """Tell stories to their ends; why each ended early, if it did.

    All stories are as far as their first wish before the model looks, and have used what it saw
    before it looks again: so every alert is out before words are made for any window. A look that
    fails ends its own story only.
    """
    errors: list[InferenceError | None] = [None] * len(stories)
    wishes: dict[int, Sequence[Look]] = {}
    for number, story in enumerate(stories):
        _go_on(number, story, None, wishes, errors)
    while wishes:
        seen = iter(model.observe_many([look for looks in wishes.values() for look in looks]))
        asked, wishes = wishes, {}
        for number, looks in asked.items():
            _go_on(number, stories[number], [next(seen) for _ in looks], wishes, errors)
    return errors


def _go_on(
    number: int,
    story: Story,
    seen: Sequence[Observation | InferenceError] | None,
    wishes: dict[int, Sequence[Look]],
    errors: list[InferenceError | None],
) -> None:
    """One story, up to its next wish, its end or its failure."""
    good = [one for one in seen or () if isinstance(one, Observation)]
    failed = [one for one in seen or () if isinstance(one, InferenceError)]
    try:
        if failed:
            wishes[number] = story.throw(failed[0])
        else:
            wishes[number] = next(story) if seen is None else story.send(good)
    except StopIteration:
        pass
    except InferenceError as error:
        errors[number] = error
