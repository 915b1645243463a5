"""Are the schemas and the reference of MQTT those of the code, and true?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from daemon.mqtt.payloads import event_content, event_messages
from daemon.mqtt.reference import SCHEMAS, Entry, entries, files
from daemon.mqtt.topics import Topics
from tests.daemon.events import DESCRIBE, MATCH
from tests.payload_schemas import check

ROOT = Path(__file__).parents[2]
ENTRIES = {entry.name: entry for entry in entries()}


def test_the_kept_files_are_those_of_the_code() -> None:
    for path, text in files().items():
        assert (ROOT / path).read_text(encoding="utf-8") == text, f"{path}: run `make schema`"
    kept = {path.name for path in (ROOT / SCHEMAS).iterdir()}
    assert kept == {path.name for path in files() if path.parent == SCHEMAS}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_each_example_keeps_its_schema(entry: Entry) -> None:
    Draft202012Validator.check_schema(entry.schema)
    Draft202012Validator(entry.schema).validate(json.loads(entry.example.payload))
    example_topic = entry.topic.replace("CAMERA", "porch").replace("RULE", "package")
    assert entry.example.topic == example_topic
    check([(entry.example.topic, entry.example.payload)])


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_no_example_keeps_the_schema_of_nothing(entry: Entry) -> None:
    content = json.loads(entry.example.payload)
    if entry.schema.get("required"):
        content.pop(entry.schema["required"][0])
    else:  # a request whose keys may all be left out
        content["unknown"] = 1
    assert not Draft202012Validator(entry.schema).is_valid(content)


def test_the_check_fails_for_what_nobody_wrote_down() -> None:
    rule = ENTRIES["rule"].example
    content = {**json.loads(rule.payload), "new": 1}
    with pytest.raises(AssertionError, match="'new' was unexpected"):
        check([(rule.topic, json.dumps(content).encode())])
    with pytest.raises(AssertionError, match="no schema"):
        check([("smolwatch/porch/new", b"{}")])


def test_every_kind_of_event_keeps_the_schema() -> None:
    for event in (MATCH, DESCRIBE):
        told = list(event_messages(Topics(), event, event_content(event, 1.0)))
        assert told
        check((message.topic, message.payload) for message in told)
