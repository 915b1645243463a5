"""How is a mistake in the configuration told?

Knows no key by name but those that hold secrets, whose values it never shows. Every problem says
where, what was found, what was expected, and how to mend it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from daemon.config_renamed import new_name
from pipelines.errors import SmolwatchError

KeyPath = tuple[str | int, ...]

_MAY_HOLD_SECRETS = frozenset(
    {"source", "password", "password_file", "key_password", "broker", "token", "token_file"}
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: its key, what to do about it, and its line in the file."""

    path: KeyPath
    text: str
    line: int = 0


class ConfigError(SmolwatchError):
    """The configuration cannot be used. The message lists every problem, a line each."""

    def __init__(self, file: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__("\n".join(_told(file, problem) for problem in self.problems))


class Refused(ValueError):
    """What a validator of the configuration raises: its text is told as it is."""


def tell_once(errors: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Without the errors that only follow from others: of a default, of a list short of its items.

    A list whose items are wrong is empty to pydantic, and refused a second time for that.
    """
    return [
        one
        for one in errors
        if one["type"] != "default_factory_not_called"
        and not (one["type"] == "too_short" and any(_within(o["loc"], one["loc"]) for o in errors))
    ]


def _within(path: KeyPath, outer: KeyPath) -> bool:
    return len(path) > len(outer) and path[: len(outer)] == outer


def explain(details: ErrorDetails, root: type[BaseModel]) -> Problem:
    """Turn one of pydantic's errors about `root` into words; the line is not known here."""
    path = tuple(part for part in details["loc"] if part != "[key]")
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, Refused):
        return Problem(path, str(cause))
    kind = details["type"]
    if kind == "extra_forbidden":
        known = section_keys(root, path[:-1])
        renamed = new_name(path)
        if renamed in known:
            return Problem(path, f"is called {renamed} here")
        return Problem(path, _unknown_key(str(path[-1]), known))
    field = _field_at(root, path)
    if kind == "missing":
        return Problem(
            path, f"missing; expected {_expected(details, field)}{_example(path, field)}"
        )
    found = _found(details["input"], hidden=bool(_MAY_HOLD_SECRETS.intersection(path)), kind=kind)
    return Problem(
        path, f"found {found}; expected {_expected(details, field)}{_example(path, field)}"
    )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` Did you mean ...?`, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]}?" if close else ""


def section_keys(root: type[BaseModel], path: KeyPath) -> list[str]:
    """The keys that may stand at `path`."""
    model = _model_at(root, path)
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _told(file: str, problem: Problem) -> str:
    key = ".".join(str(part) for part in problem.path)
    return f"{file}:{problem.line}: {key + ': ' if key else ''}{problem.text}"


def _unknown_key(key: str, known: list[str]) -> str:
    guess = did_you_mean(key, known)
    return f"unknown key.{guess} Known here: {', '.join(known)}"


_EXPECTED: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "literal_error": lambda ctx: str(ctx["expected"]),
    "int_type": lambda _: "a whole number, without quotes",
    "float_type": lambda _: "a number, without quotes",
    "finite_number": lambda _: "a number",
    "string_type": lambda _: "a text (put it in quotes if it looks like a number)",
    "string_too_short": lambda _: "a text that is not empty",
    "string_too_long": lambda ctx: f"a text of at most {ctx['max_length']} characters",
    "bool_parsing": lambda _: "true or false",
    "bool_type": lambda _: "true or false",
    "path_type": lambda _: "a path",
    "too_short": lambda _: "at least one",
    "greater_than": lambda ctx: f"a number above {ctx['gt']:g}",
    "greater_than_equal": lambda ctx: f"a number of at least {ctx['ge']:g}",
    "less_than": lambda ctx: f"a number below {ctx['lt']:g}",
    "less_than_equal": lambda ctx: f"a number of at most {ctx['le']:g}",
    "model_type": lambda _: "key: value lines below it, indented",
    "mapping_type": lambda _: "key: value lines below it, indented",
    "dict_type": lambda _: "key: value lines below it, indented",
    "tuple_type": lambda _: "a list",
}


def _expected(details: ErrorDetails, field: FieldInfo | None) -> str:
    words = _EXPECTED.get(details["type"])
    if words is not None:
        return words(details.get("ctx", {}))
    described = field.description if field else None
    return described or details["msg"]


def _example(path: KeyPath, field: FieldInfo | None) -> str:
    if not field or not field.examples:
        return ""
    return f', for example  {path[-1]}: "{field.examples[0]}"'


def _found(value: object, *, hidden: bool, kind: str) -> str:
    """The value where it is short, harmless and of use; else only what it is."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "key: value lines"
    if isinstance(value, (list, tuple)):
        return "a list" if value else "an empty list"
    if isinstance(value, str):
        # A text in the wrong place may be anything, a camera's address included.
        shown = not hidden and kind in {"literal_error", "bool_parsing"}
        return f"'{value}'" if shown else "a text"
    if hidden:
        return "no text"
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def _model_at(root: type[BaseModel], path: KeyPath) -> type[BaseModel] | None:
    if not path:
        return root
    field = _field_at(root, path)
    return _model_in(field.annotation) if field else None


def _field_at(root: type[BaseModel], path: KeyPath) -> FieldInfo | None:
    """The field at `path`; for an entry of a mapping or list, the field that holds it."""
    model: type[BaseModel] | None = root
    field: FieldInfo | None = None
    within_mapping = False
    for part in path:
        if isinstance(part, int):
            continue  # a place in a list, whose field is known
        if within_mapping or model is None:
            within_mapping = False  # `part` is a name that the user chose
            continue
        fields = {known.alias or name: known for name, known in model.model_fields.items()}
        field = fields.get(part)
        if field is None:
            return None
        model = _model_in(field.annotation)
        within_mapping = get_origin(field.annotation) is Mapping
    return field


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The section's model in `Section`, `Section | None` or `Mapping[str, Section]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(argument) for argument in get_args(annotation))
    return next((model for model in found if model is not None), None)
