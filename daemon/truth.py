"""What really happened in a recording, as a person wrote it down?

Knows the file's format and no rule's judgement. YAML or JSON, recordings by name, each with its
events in seconds (or `M:SS`) from its beginning:

    porch.mp4:
      - {start_s: 12.5, end_s: 16, rule: package_delivered}
      - {start_s: 1:30, end_s: 1:34, maybe: true}
    empty.mp4: []

or CSV with the columns `file,start_s,end_s` and, if wanted, `rule` and `maybe`. An event without a
`rule` is one for whichever rule is tried. At a `maybe` an alert is neither wanted nor wrong.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from pipelines.errors import SmolwatchError

_CLOCK: Final = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:\.\d+)?)")
_FALSE: Final = frozenset({"", "0", "no", "false"})
_TRUE: Final = frozenset({"1", "yes", "true"})


class TruthError(SmolwatchError):
    """The file of truth cannot be used; the message says where and why."""


@dataclass(frozen=True, slots=True)
class TrueSpan:
    """Something happened, in seconds of its recording."""

    start_s: float
    end_s: float
    maybe: bool = False


def _seconds(value: object) -> object:
    if isinstance(value, str) and (found := _CLOCK.fullmatch(value.strip())):
        return int(found[1] or 0) * 3600 + int(found[2]) * 60 + float(found[3])
    return value


Moment = Annotated[float, BeforeValidator(_seconds), Field(ge=0, allow_inf_nan=False)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    start_s: Moment
    end_s: Moment
    rule: str | None = None
    maybe: bool = False

    @model_validator(mode="after")
    def _forward(self) -> _Entry:
        if self.end_s < self.start_s:
            raise ValueError(f"end_s {self.end_s:g} is before start_s {self.start_s:g}")
        return self


_FILE: Final = TypeAdapter(dict[str, list[_Entry]])


class Truth:
    """All that a file of truth says."""

    def __init__(self, path: Path, entries: Mapping[str, list[_Entry]]) -> None:
        self._path = path
        self._entries = entries

    def spans(self, recording: Path, rule: str) -> tuple[TrueSpan, ...] | None:
        """What happened in `recording` that is `rule`'s affair; None where nothing is said of it.

        A recording is named by as much of its path as tells it apart.
        """
        name = self._name_of(recording)
        if name is None:
            return None
        found = (entry for entry in self._entries[name] if entry.rule in (None, rule))
        spans = (TrueSpan(entry.start_s, entry.end_s, entry.maybe) for entry in found)
        return tuple(sorted(spans, key=lambda span: (span.start_s, span.end_s)))

    def check(self, recordings: Iterable[Path]) -> None:
        """Raise `TruthError` where it names none of the recordings: a slip in the names."""
        known = list(recordings)
        if not any(self._name_of(recording) for recording in known):
            there = ", ".join(path.name for path in known[:3])
            named = ", ".join(list(self._entries)[:3]) or "nothing"
            raise TruthError(
                f"{self._path}: it names {named}, and none of the recordings ({there}); "
                "name each recording by its file name"
            )

    def _name_of(self, recording: Path) -> str | None:
        parts = recording.parts
        fitting = (n for n in self._entries if parts[-len(Path(n).parts) :] == Path(n).parts)
        return max(fitting, key=len, default=None)


def read_truth(path: Path) -> Truth:
    """Read a file of truth, by its suffix. Raises `TruthError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise TruthError(f"{path}: cannot be read: {reason}") from error
    try:
        found: Any = _of_csv(text) if path.suffix.lower() == ".csv" else yaml.safe_load(text)
        return Truth(path, _FILE.validate_python({} if found is None else found))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise TruthError(f"{path}{line}: neither YAML nor JSON ({_first_line(error)})") from error
    except ValidationError as error:
        raise TruthError(f"{path}: {_explain(error)}") from None


def draft(incidents: Mapping[str, Iterable[tuple[float, float]]], rule: str) -> str:
    """A file of truth that says what was found, for somebody to put right.

    `incidents`: recording -> (start_s, end_s) of each.
    """
    lines = [
        "# What the rule found. Watch the recordings, delete what is wrong, add what is missing,",
        "# mend the times, and give the file back with --truth. `maybe: true` marks what neither",
        "# has to be found nor is wrong.",
    ]
    for recording, spans in incidents.items():
        rows = [
            f"  - {{start_s: {start_s:.1f}, end_s: {end_s:.1f}, rule: {rule}}}"
            for start_s, end_s in spans
        ]
        lines += [f"{json_key(recording)}:" + ("" if rows else " []"), *rows]
    return "\n".join(lines) + "\n"


def json_key(name: str) -> str:
    """A file name as a key of YAML, whatever is in it."""
    return yaml.safe_dump(name, default_style='"', allow_unicode=True, width=10_000).strip()


def _of_csv(text: str) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = {}
    for row in csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))):
        cells = {str(key).strip(): (value or "").strip() for key, value in row.items() if key}
        name = cells.pop("file", "")
        entries = found.setdefault(name, [])
        if not cells.get("start_s") and not cells.get("end_s"):
            continue  # a recording in which nothing happens
        maybe = cells.pop("maybe", "").lower()
        rule = cells.pop("rule", "") or None
        known = False if maybe in _FALSE else True if maybe in _TRUE else maybe
        entries.append({**cells, "rule": rule, "maybe": known})
    return found


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = [str(part) for part in first["loc"]]
    where = place[0] if place else ""
    if len(place) > 1:
        where += f", event {int(place[1]) + 1}" if place[1].isdigit() else f", {place[1]}"
    where += "".join(f", {key}" for key in place[2:])
    expected = "expected recordings, each with a list of {start_s: ..., end_s: ...}"
    text = expected if not place else first["msg"].removeprefix("Value error, ")
    return f"{where}: {text}" if where else text


def _first_line(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or str(error).splitlines()[0])
