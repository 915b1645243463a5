"""What happened at a camera in an hour or a day, in a few sentences?

Knows the store and who writes; no schedule, no socket and no topic. Sentences are the language
model's, made of stored descriptions and incidents; every count is counted in the store. A model
that cannot write (the bundled one) has its descriptions listed instead, and that is said.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Final, Literal, Protocol

import structlog

from daemon.mqtt.records import Digest
from daemon.store_digest import facts
from pipelines.errors import InferenceError
from pipelines.summary import Note, Reader, Summary, merge, summarize
from pipelines.writing import Writings

SAME_S: Final = 180.0  # neighbours with the same words are one, with at most such a gap
_LISTED: Final = 20  # different descriptions, where there is no writer
_SIGN_OF_LIFE_S: Final = 2.0
_A_DAY_S: Final = 25 * 3600.0  # with clocks set back

log = structlog.get_logger(__name__)


class Writer(Reader, Protocol):
    """The model, as far as a digest names it."""

    @property
    def model_id(self) -> str:
        """Name and revision."""
        ...


def make_digest(
    path: Path,
    camera: str,
    stretch: tuple[float, float],
    *,
    writer: Writer,
    writings: Writings,
    zone: tzinfo | None,
) -> Generator[int, None, Digest]:
    """Read the store, have it written, and return it; yields now and then how many are written.

    `stretch`: from and until, Unix seconds. Raises `RequestRefused` where nothing can be written
    now, and `sqlite3.Error`. What the model fails at is listed.
    """
    known = facts(path, camera, *stretch)
    described = merge(known.words, SAME_S)
    notes = sorted((*described, *known.alerts), key=lambda note: note.start)
    form = "%H:%M" if stretch[1] - stretch[0] <= _A_DAY_S else "%a %H:%M"

    def show(wall_time: float) -> str:
        return datetime.fromtimestamp(wall_time, zone).strftime(form)

    try:
        written = yield from _written(notes, writer, writings, show)
    except InferenceError as error:
        log.warning("digest.not_written", camera=camera, error=str(error))
        written = Summary(None)
    text_by: Literal["model", "listing"] = "model" if written.text is not None else "listing"
    return Digest(
        camera=camera,
        since=known.since,
        until=known.until,
        text=written.text or _listing(described, show) or "Nothing was described.",
        text_by=text_by,
        incidents=known.incidents,
        descriptions=known.descriptions,
        blind_s=known.blind_s,
        model_id=writer.model_id,
    )


def _written(
    notes: Sequence[Note], writer: Writer, writings: Writings, show: Callable[[float], str]
) -> Generator[int, None, Summary]:
    """Pass each task to the inference thread and wait for what it makes of it."""
    tasks = summarize(notes, writer, show)
    done = 0
    try:
        task = next(tasks)
        while True:
            waiting: Future[str] = writings.put(task)
            try:
                while not wait_for([waiting], _SIGN_OF_LIFE_S).done:
                    yield done
            finally:
                waiting.cancel()  # whoever asked may have gone
            done += 1
            task = tasks.send(waiting.result())
    except StopIteration as end:
        written: Summary = end.value
        return written


def _listing(notes: Sequence[Note], show: Callable[[float], str]) -> str:
    """What was said, the most frequent first, with how often and when."""
    found: dict[str, list[Note]] = {}
    for note in notes:
        found.setdefault(note.text, []).append(note)
    ordered = sorted(found.items(), key=lambda item: -len(item[1]))
    lines = []
    for text, told in ordered[:_LISTED]:
        first, last = show(told[0].start), show(told[-1].end)
        when = first if first == last else f"{first} to {last}"
        lines.append(f"{text} ({len(told)} times, {when})" if len(told) > 1 else f"{text} ({when})")
    if len(ordered) > _LISTED:
        lines.append(f"and {len(ordered) - _LISTED} other descriptions")
    return "\n".join(lines)
