"""What does a YAML file say, and on which line?

Knows no key of the configuration. YAML 1.1, which PyYAML reads, has traps; here words are taken
as they stand: `off`, `on`, `yes` and `no` stay words (a true/false key takes them), `22:00` and
`0123` stay texts, and `{NAME}` without quotes is the text "{NAME}".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import yaml

from daemon.config_errors import KeyPath, Problem

_TAG = "tag:yaml.org,2002:"
_REFERENCE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUOTED_WORD = re.compile(r"""['"](?!<)[^\s'"]{2,}['"]""")
_HINTS = (  # part of PyYAML's message -> how to mend it
    ("mapping values are not allowed", "put a text that holds ': ' in quotes, and check indents"),
    (r"'\t'", "indent with spaces, not with tabs"),
    ("cannot start any token", "put a value that begins with a special character in quotes"),
    ("another document", "keep one, and delete the --- between them"),
    ("got '?'", 'between { and } a question needs quotes: {ask: "Is there a dog?"}'),
    ("alias", "put a value that begins with * in quotes"),
    ("anchor", "put a value that begins with & in quotes"),
    ("tag", "put a value that begins with ! in quotes"),
    ("found unexpected end of stream", "a quote or bracket is not closed"),
    ("expected", "check indents, colons and brackets; a value like {NAME}/x needs quotes"),
)


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file as plain values, with the line of every key."""

    values: object  # dict, list, str, int, float, bool or None
    lines: Mapping[KeyPath, int]
    problems: tuple[Problem, ...]  # found while reading, such as keys given twice

    def line(self, path: KeyPath) -> int:
        """The line of `path`, or of the nearest key above it that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


class _Loader(yaml.SafeLoader):
    """Finds plain numbers, true, false and null, and nothing else (YAML 1.2's core, in decimal)."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _name, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", "~nN"),
    ("int", r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    (
        "float",
        r"^[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(_pattern), [*_first, ""])


def read_yaml(text: str) -> Document:
    """Read one document; what cannot be read at all becomes a problem with its line."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        return Document(None, {}, (_syntax_problem(error),))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        found = f"a character that YAML does not allow (U+{ord(text[error.position]):04X})"
        return Document(None, {}, (Problem((), f"{found}: delete it or write it anew", line),))
    reader = _Reader()
    return Document(reader.value(node, ()), reader.lines, tuple(reader.problems))


def _syntax_problem(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    said = error.problem or "not YAML"
    hint = next((hint for part, hint in _HINTS if part in said), "check quotes and indents")
    # PyYAML quotes the file's words, and one of them may be a password.
    told = _QUOTED_WORD.sub("'...'", said)
    return Problem((), f"not readable as YAML: {told}; {hint}", mark.line + 1 if mark else 1)


class _Reader:
    """Turns nodes into values; fills `lines` and `problems` as it goes."""

    def __init__(self) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[Problem] = []
        self._within: list[yaml.Node] = []  # nodes being read, against aliases in a circle

    def value(self, node: yaml.Node | None, path: KeyPath) -> object:
        """The plain value of `node`."""
        if node is None:
            return None
        if node in self._within:
            self._refuse(node, path, "this alias (*) contains itself")
            return None
        self._within.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self._item(item, (*path, n)) for n, item in enumerate(node.value)]
            assert isinstance(node, yaml.ScalarNode)  # noqa: S101 - there are three kinds
            return self._scalar(node, path)
        finally:
            self._within.pop()

    def _item(self, node: yaml.Node, path: KeyPath) -> object:
        self.lines[path] = node.start_mark.line + 1
        return self.value(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> object:
        reference = _unquoted_reference(node)
        if reference is not None:
            return reference
        values: dict[str, object] = {}
        for key_node, value_node in self._entries(node, path):
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(key_node, path, 'expected a word as key; write "{NAME}" in quotes')
                continue
            key: str = key_node.value  # as it is written: `on:` and `1:` are words here
            at = (*path, key)
            if key in values:
                self._refuse(key_node, at, f"given twice, first on line {self.lines[at]}: keep one")
                continue
            self.lines[at] = key_node.start_mark.line + 1
            values[key] = self.value(value_node, at)
        return values

    def _entries(
        self, node: yaml.MappingNode, path: KeyPath
    ) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """Keys and values, then those that a merge key (`<<: *other`) adds to them."""
        own = [(key, value) for key, value in node.value if key.value != "<<"]
        yield from own
        names = {key.value for key, _ in own if isinstance(key, yaml.ScalarNode)}
        for key, merged in node.value:
            if key.value != "<<":
                continue
            if not isinstance(merged, yaml.MappingNode) or merged in self._within:
                self._refuse(key, (*path, "<<"), "expected an alias of key: value lines, as *name")
                continue
            self._within.append(merged)
            yield from (
                entry for entry in self._entries(merged, path) if entry[0].value not in names
            )
            self._within.pop()

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> object:
        kind = node.tag.removeprefix(_TAG)
        if kind == "str":
            return node.value
        if kind == "null":
            return None
        if kind == "bool":
            return node.value.lower() == "true"
        try:
            return {"int": int, "float": float}[kind](node.value)
        except (KeyError, ValueError):
            hint = 'write "{NAME}" for a secret' if kind == "!secret" else "quote the value"
            self._refuse(node, path, f"a value cannot begin with a tag (!) here; {hint}")
            return None

    def _refuse(self, node: yaml.Node, path: KeyPath, text: str) -> None:
        self.problems.append(Problem(path, text, node.start_mark.line + 1))


def _unquoted_reference(node: yaml.MappingNode) -> str | None:
    """The text of `{NAME}`, which YAML reads as a mapping of NAME to nothing."""
    if not node.flow_style or len(node.value) != 1:
        return None
    key, value = node.value[0]
    empty = isinstance(value, yaml.ScalarNode) and value.value == "" and value.style is None
    if not empty or not isinstance(key, yaml.ScalarNode):
        return None
    return f"{{{key.value}}}" if _REFERENCE_NAME.fullmatch(key.value) else None
