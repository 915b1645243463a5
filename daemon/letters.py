"""How does a person look at what the broker refused, and what can be done about it?

Knows the outbox and the control socket's answers; no terminal but for the words.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from daemon.control import Answer, ControlError
from daemon.outbox import Outbox

Json = dict[str, Any]


def letter_answers(outbox: Outbox | None) -> dict[str, Answer]:
    """Operation -> what answers it."""

    def answer(request: Json) -> Iterator[Json]:
        if outbox is None:
            raise ControlError("this daemon talks to no broker: there is no `mqtt` in its file")
        match request.get("do"):
            case "list":
                for letter in outbox.dead_letters():
                    yield {"letter": dataclasses.asdict(letter)}
            case "retry":
                yield {"retried": outbox.retry_all()}
            case "drop":
                yield {"dropped": outbox.drop_dead_letters()}
            case other:
                raise ControlError(f"dead-letters: list, retry or drop, and not {other!r}")

    return {"dead-letters": answer}


def letter_line(letter: Json) -> str:
    """One refused message in one line."""
    code = "" if letter["code"] is None else f" ({letter['code']:#04x})"
    again = letter["again"]
    then = "waits for --retry" if again is None else f"again at {_at(again)}"
    return (
        f"{_at(letter['refused'])}  {letter['kind']}  {letter['topic']}  {letter['num_bytes']} "
        f"bytes  {letter['reason']}{code}  {letter['tries']}x, {then}"
    )


def _at(wall_time: float) -> str:
    return f"{datetime.fromtimestamp(wall_time).astimezone():%Y-%m-%d %H:%M:%S}"
