"""Does each camera send what can be watched?

Knows addresses and what was measured of them; all cameras are looked at at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from concurrent.futures import TimeoutError as TooLate
from typing import Final

from daemon.findings import Finding
from daemon.probe import advice
from pipelines.clock import Clock
from pipelines.errors import DeviceBusy, SourceError
from pipelines.probe import StreamFacts, probe
from pipelines.sources import SourceUrl

LOOK_S: Final = 5.0
PATIENCE_S: Final = 60.0  # for all of them: to connect, to look, to hang up
MOST_AT_ONCE: Final = 16


def check_cameras(
    cameras: Mapping[str, SourceUrl],
    clock: Clock,
    look: Callable[[SourceUrl, Clock, float], StreamFacts] = probe,
    patience_s: float = PATIENCE_S,
) -> Iterator[Finding]:
    """Each camera's findings as soon as they are there. Ends after `patience_s`.

    A camera that hangs keeps a thread: whoever called leaves by `os._exit`.
    """
    if not cameras:
        return
    pool = ThreadPoolExecutor(min(MOST_AT_ONCE, len(cameras)), "doctor")
    asked = {pool.submit(look, url, clock, LOOK_S): name for name, url in cameras.items()}
    try:
        for told in as_completed(asked, patience_s):
            name = asked.pop(told)
            try:
                yield from _facts(name, told.result())
            except SourceError as error:
                yield _refusal(name, error)
    except TooLate:
        for name in asked.values():
            yield Finding(
                "fail", name, f"no answer within {patience_s:.0f} s",
                "restart the camera, and see `smolwatch probe` for this address alone",
            )  # fmt: skip
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _facts(name: str, facts: StreamFacts) -> Iterator[Finding]:
    rate = "?" if facts.fps is None else f"{facts.fps:.0f}"
    text = f"{facts.codec or 'decoded'}, {facts.width_px}x{facts.height_px}, {rate}/s"
    ahead = "" if facts.clock_ahead_s is None else f", its clock {facts.clock_ahead_s:+.1f} s"
    yield Finding("ok", name, f"{text}, first picture after {facts.first_frame_s:.1f} s{ahead}")
    for line in advice(facts):
        said, mark, fix = line.partition(": ")
        yield Finding("warn", name, said if mark else line, fix or None)


def _refusal(name: str, error: SourceError) -> Finding:
    if isinstance(error, DeviceBusy):
        return Finding(
            "warn", name, "another program uses it, so it was not looked at",
            "nothing, if that is the running daemon; else end the other program",
        )  # fmt: skip
    said, _, fix = str(error).partition(". ")
    return Finding("fail", name, f"{error.cause}: {said}", fix or "see docs/cameras.md")
