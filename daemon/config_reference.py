"""Which keys has the configuration, for docs/configuration.md?

Knows the JSON Schema of `daemon.config` and makes Markdown of it.
`python -m daemon.config_reference` prints the document.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any, Final

from daemon.config import schema_json

Schema = dict[str, Any]

_INTRODUCTION: Final = """\
# Configuration

One YAML file. `smolwatch check-config -c FILE` names every mistake with its line; unknown keys are
mistakes. [smolwatch.example.yaml](../configs/smolwatch.example.yaml) is the same with examples and
reasons; [config.schema.json](../configs/config.schema.json) gives completion in editors, with this
first line: `# yaml-language-server: $schema=config.schema.json`.

`{NAME}` in an address or a password stands for a secret: a systemd credential of that name, the
file that the environment variable `NAME_FILE` names, or the environment variable `NAME`. A changed
file is taken up by `smolwatch reload` or SIGHUP; one with a mistake is refused and the earlier one
goes on.

This page is made from the schema (`make schema`). A key without a default must be there.
"""
# The order in which people meet them; what is not named comes behind.
_FIRST: Final = ("model", "mqtt", "cameras", "rules")
_LIMITS: Final = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "minItems": "at least {} of them",
}


def document() -> str:
    """docs/configuration.md."""
    schema: Schema = json.loads(schema_json())
    lines = [_INTRODUCTION, *_top(schema)]
    for name in _sections(schema):
        section = schema["$defs"][name]
        lines += [f'<a id="{_anchor(name)}"></a>', f"## {_title(name, schema)}", ""]
        lines += [section.get("description", ""), "", *_table(section), ""]
    return "\n".join(lines).rstrip() + "\n"


def _top(schema: Schema) -> Iterator[str]:
    yield from ("## The file", "")
    yield from _table({**schema, "properties": {k: schema["properties"][k] for k in _keys(schema)}})
    yield ""


def _keys(schema: Schema) -> list[str]:
    return [*_FIRST, *(key for key in schema["properties"] if key not in _FIRST)]


def _sections(schema: Schema) -> list[str]:
    """The schema's parts in the order in which the keys lead to them."""
    found: list[str] = []

    def follow(part: object) -> None:
        if isinstance(part, list):
            for item in part:
                follow(item)
        elif isinstance(part, dict):
            name = str(part.get("$ref", "")).rpartition("/")[2]
            if name and name not in found:
                found.append(name)
                follow(schema["$defs"][name].get("properties", {}))
            follow([value for key, value in part.items() if key != "$ref"])

    for key in _keys(schema):
        follow(schema["properties"][key])
    return found


def _title(name: str, schema: Schema) -> str:
    """A section by the key that leads to it, else by its own name."""
    for key in schema["properties"]:
        if f'"#/$defs/{name}"' in json.dumps(schema["properties"][key]):
            return f"`{key}`" + {"cameras": ": a camera", "rules": ": a rule"}.get(key, "")
    return f"`{name.removesuffix('Config').lower()}`"


def _anchor(name: str) -> str:
    return name.removesuffix("Config").lower()


def _table(section: Schema) -> Iterator[str]:
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    required = section.get("required", ())
    for key, schema in section["properties"].items():
        default = "" if key in required else _default(schema)
        limits = [words.format(schema_limit) for words, schema_limit in _limits(schema)]
        told = "; ".join(filter(None, [schema.get("description", ""), ", ".join(limits)]))
        yield f"| `{key}` | {_kind(schema)} | {default} | {_cell(told)} |"


def _kind(schema: Schema) -> str:
    """What may stand there, in a few words."""
    if "$ref" in schema:
        name = _anchor(schema["$ref"].rpartition("/")[2])
        return f"[{name}](#{name})"
    if "enum" in schema or "const" in schema:
        values = schema.get("enum") or [schema["const"]]
        return ", ".join(f"`{_word(value)}`" for value in values if value is not False)
    if "anyOf" in schema:
        kinds = [_kind(one) for one in schema["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    simple = {"boolean": "`true`, `false`", "integer": "number", "string": "text"}
    many = {"array": _list, "object": _names}
    kind = str(schema.get("type", "anything"))
    return many[kind](schema) if kind in many else simple.get(kind, kind)


def _list(schema: Schema) -> str:
    return "`[x, y]`" if "prefixItems" in schema else f"list of {_kind(schema['items'])}"


def _names(schema: Schema) -> str:
    found = schema.get("patternProperties") or {"": schema["additionalProperties"]}
    return f"names, each with a {_kind(next(iter(found.values())))}"


def _default(schema: Schema) -> str:
    value = schema.get("default")
    if value in (None, {}, [], ""):
        return "none"
    if isinstance(value, list):
        return ", ".join(f"`{_word(one)}`" for one in value)
    return "see there" if isinstance(value, dict) else f"`{_word(value)}`"


def _limits(schema: Schema) -> Iterator[tuple[str, object]]:
    for part in (schema, *schema.get("anyOf", ())):
        for name, words in _LIMITS.items():
            if name in part and not (name == "minimum" and "exclusiveMinimum" in part):
                yield words, f"{part[name]:,g}"


def _word(value: object) -> str:
    """A value as YAML spells it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    sys.stdout.write(document())
