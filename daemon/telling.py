"""How is what the daemon remembers shown to a person?

Knows the answers of `daemon.questions` and no terminal: text in lines comes out.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

Json = Mapping[str, Any]

EVENT_COLUMNS: Final = (
    "ts", "camera", "event_type", "rule", "severity", "score", "incident_id", "event_id", "summary",
)  # fmt: skip
INCIDENT_COLUMNS: Final = (
    "opened", "closed", "duration_s", "camera", "rule", "severity", "score", "incident_id",
)  # fmt: skip
_FORMULA: Final = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
)  # a spreadsheet would run what begins with one


def why_lines(told: Json, rule: str | None) -> Iterator[str]:
    """What was asked, what came out, and what held rules back; or why nobody looked."""
    yield f"{told['camera']} at {_at(told['at'], date=True)}"
    for window in told["windows"]:
        yield from _window_lines(window, rule)
    for name, found in told.get("selftests", {}).items():
        if rule in (None, name):
            yield f"{name}: {found}"
    for span in told["spans"]:
        yield _span_line(told["camera"], span, seen=bool(told["windows"]))
    for incident in told["incidents"]:
        if rule in (None, incident["rule"]):
            closed = incident["closed"]
            until = "is still open" if closed is None else f"closed at {_at(closed)}"
            yield (
                f"incident {incident['incident_id']} of {incident['rule']}: opened at "
                f"{_at(incident['opened'])}, {until}"
            )
    if not told["windows"]:
        yield from _nearby_lines(told)


def event_line(event: Json) -> str:
    """One event in one line."""
    what = event["rule"] or ""
    score = "" if event["score"] is None else f" p_yes {event['score']:.2f}"
    return (
        f"{_at(datetime.fromisoformat(event['ts']).timestamp(), date=True)}  {event['camera']}  "
        f"{event['event_type']}  {what}{score}  {event['summary']}"
    )


def incident_line(incident: Json) -> str:
    """One incident in one line."""
    lasted = incident["duration_s"]
    until = "still open" if lasted is None else f"lasted {long(lasted)}"
    score = "" if incident["score"] is None else f" p_yes {incident['score']:.2f}"
    return (
        f"{_at(incident['opened'], date=True)}  {incident['camera']}  {incident['severity']}  "
        f"{incident['rule']}{score}  {until}"
    )


def long(seconds: float) -> str:
    """`42 s`, `12 min`, `3 h 5 min`."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def csv_line(columns: Sequence[str], values: Mapping[str, Any] | None) -> str:
    """An event or incident as a line of CSV (RFC 4180); None: the line of the columns' names."""
    out = io.StringIO()
    row = columns if values is None else [_cell(values[column]) for column in columns]
    csv.writer(out, lineterminator="").writerow(row)
    return out.getvalue()


def _cell(value: object) -> object:
    # What a model says is not to be run by whoever opens the file.
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value


def _window_lines(window: Json, rule: str | None) -> Iterator[str]:
    yield f"window {_at(window['started'])} to {_at(window['ended'])}"
    for question, p_yes in window["answers"].items():
        yield f"  {question}  p_yes {p_yes:.2f}"
    if window["description"] is not None:
        yield f"  described: {window['description']}"
    for name, verdict in window["rules"].items():
        if rule in (None, name):
            yield f"  {name}: {verdict}"


def _span_line(camera: str, span: Json, *, seen: bool) -> str:
    if span["cause"] == "quiet":
        what = "no window was run"
    elif span["cause"] == "throttled":
        what = "windows came less often"
    else:
        what = "some windows were not run" if seen else f"{camera} was blind"
    missed = f", {span['windows']} windows" if span["windows"] else ""
    return (
        f"{what} from {_at(span['started'])} to {_at(span['ended'])}{missed}: "
        f"{span['cause']}: {span['detail']}"
    )


def _nearby_lines(told: Json) -> Iterator[str]:
    if not told["spans"]:
        yield "no window of that time is stored, nor why there is none"
    for key in ("before", "after"):
        if told[key] is not None:
            yield f"nearest window {key}: {_at(told[key]['started'])} to {_at(told[key]['ended'])}"


def _at(wall_time: float, *, date: bool = False) -> str:
    local = datetime.fromtimestamp(wall_time).astimezone()
    return f"{local:%Y-%m-%d %H:%M:%S}" if date else f"{local:%H:%M:%S}"
