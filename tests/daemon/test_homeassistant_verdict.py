"""Would Home Assistant itself take what it is told?

`test_discovery.py` holds every key against a table. Here Home Assistant's own schemas decide: those
of the interpreters in HOMEASSISTANT_PYTHON (joined as in PATH), or of this one where it has Home
Assistant; see CONTRIBUTING.md.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.mqtt.commands import Level
from daemon.mqtt.discovery import message
from tests.daemon.test_discovery import PORCH, PORCH_TOPIC, SITE, YARD

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
VERDICT = Path(__file__).parents[1] / "homeassistant_verdict.py"
Json = dict[str, Any]


def interpreters() -> list[str]:
    named = os.environ.get("HOMEASSISTANT_PYTHON")
    if named:
        return named.split(os.pathsep)
    return [sys.executable] if importlib.util.find_spec("homeassistant") else []


@pytest.fixture(params=interpreters() or [None])
def ask(request: pytest.FixtureRequest) -> Callable[[dict[str, Json]], Json]:
    if request.param is None:
        pytest.skip("no Home Assistant: name a Python that has it in HOMEASSISTANT_PYTHON")

    def verdict(messages: dict[str, Json]) -> Json:
        run = subprocess.run(
            [request.param, "-c", VERDICT.read_text()], input=json.dumps(messages),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        said: Json = json.loads(run.stdout)
        return said

    return verdict


def announced(level: Level) -> dict[str, Json]:
    """A camera with all that there is, one with nothing, and the bridge; each loses a component."""
    site = dataclasses.replace(SITE, commands=level)
    devices = site.devices([dataclasses.replace(PORCH, digests=True), YARD])
    removed: dict[str, Any] = {"rule_gone": "binary_sensor"}
    return {topic: json.loads(message(topic, of, removed).payload) for topic, of in devices.items()}


@pytest.mark.parametrize("level", ["off", "arm", "full"])
def test_nothing_is_refused_and_no_key_unknown(
    ask: Callable[[dict[str, Json]], Json], level: Level
) -> None:
    messages = announced(level)
    said = ask(messages)
    assert said["complaints"] == [], said["version"]
    assert said["components"] == sum(len(device["components"]) for device in messages.values())


def test_it_would_have_said_so(ask: Callable[[dict[str, Json]], Json]) -> None:
    good = announced("full")[PORCH_TOPIC]
    bad = {f"homeassistant/device/{name}/config": copy.deepcopy(good) for name in "abcde"}
    top, device, unit, key, template = bad.values()
    top["schema"] = 1
    device["device"]["colour"] = "red"
    unit["components"]["latency"]["unit_of_measurement"] = "fps"
    key["components"]["rule_package"]["state_on"] = "ON"
    template["components"]["rule_package"]["value_template"] = "{{ value_json."
    complaints = ask(bad)["complaints"]
    assert len(complaints) == len(bad)
    for topic, complaint in zip(bad, complaints, strict=True):
        assert complaint.startswith(topic)
