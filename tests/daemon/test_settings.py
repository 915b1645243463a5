"""Do settings outlive a restart, and does the configuration's new word win?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.mqtt.records import RuleSetting
from daemon.settings import CameraSetting, Settings, Value
from daemon.store import Limits, Store
from tests.fakes import FakeClock

PORCH = CameraSetting(
    enabled=True,
    prompt="What is it?",
    rules={"package": RuleSetting(armed=True, threshold=0.7)},
)
CHANGES: dict[str, Value | None] = {
    "enabled": False,
    "prompt": "Who is it?",
    "rule/package/armed": False,
    "rule/package/threshold": 0.9,
}
CHANGED = CameraSetting(False, "Who is it?", {"package": RuleSetting(armed=False, threshold=0.9)})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "s.db", Limits(), FakeClock())
    yield opened
    opened.close()


def test_changes_are_there_at_once_and_after_a_restart(store: Store) -> None:
    now = Settings({"porch": PORCH}, store)
    assert now.of("porch") == PORCH
    now.change("porch", CHANGES)
    assert now.of("porch") == CHANGED
    assert Settings({"porch": PORCH}, store).of("porch") == CHANGED


def test_a_new_value_in_the_configuration_wins_and_only_there(store: Store) -> None:
    Settings({"porch": PORCH}, store).change("porch", CHANGES)
    edited = dataclasses.replace(PORCH, rules={"package": RuleSetting(armed=True, threshold=0.6)})
    found = Settings({"porch": edited}, store)
    assert found.of("porch") == dataclasses.replace(
        CHANGED, rules={"package": RuleSetting(armed=False, threshold=0.6)}
    )
    # Once it was superseded it does not come back, should the file be as it was.
    assert Settings({"porch": PORCH}, store).of("porch").rules["package"].threshold == 0.7


def test_none_puts_back_what_is_configured(store: Store) -> None:
    now = Settings({"porch": PORCH}, store)
    now.change("porch", CHANGES)
    now.change("porch", dict.fromkeys(CHANGES))
    assert now.of("porch") == PORCH
    again = dataclasses.replace(PORCH, prompt="Other?")
    assert Settings({"porch": again}, store).of("porch") == again


def test_a_change_to_what_is_configured_anyway_is_none(store: Store) -> None:
    Settings({"porch": PORCH}, store).change("porch", {"prompt": PORCH.prompt})
    edited = dataclasses.replace(PORCH, prompt="Other?")
    assert Settings({"porch": edited}, store).of("porch").prompt == "Other?"


def test_a_rule_that_is_gone_takes_its_changes_with_it(store: Store) -> None:
    Settings({"porch": PORCH}, store).change("porch", CHANGES)
    without = dataclasses.replace(PORCH, rules={})
    assert Settings({"porch": without}, store).of("porch") == dataclasses.replace(CHANGED, rules={})


def test_without_a_store_changes_last_until_the_end() -> None:
    now = Settings({"porch": PORCH}, None)
    now.change("porch", CHANGES)
    assert now.of("porch") == CHANGED
    with pytest.raises(KeyError):
        now.change("yard", CHANGES)


@pytest.mark.parametrize(
    "kept",
    [
        "",
        "[]",
        '"x"',
        "{",
        '{"enabled": 1}',
        '{"enabled": {"to": 0, "from": true}}',
        '{"prompt": {"to": "", "from": "What is it?"}}',
        '{"rule/package/threshold": {"to": 0.0, "from": 0.7}}',
        '{"rule/package/threshold": {"to": NaN, "from": 0.7}}',
        '{"rule/package/threshold": {"to": true, "from": 0.7}}',
        '{"rule/package/armed": {"to": "no", "from": true}}',
        '{"rule/other/armed": {"to": false, "from": true}}',
    ],
)
def test_what_another_version_kept_is_left_alone(store: Store, kept: str) -> None:
    store.remember("settings/porch", kept)
    assert Settings({"porch": PORCH}, store).of("porch") == PORCH


WANTED = st.fixed_dictionaries(
    {},
    optional={
        "enabled": st.none() | st.booleans(),
        "prompt": st.none() | st.sampled_from(["What is it?", "Who?", "ü" * 255]),
        "rule/package/armed": st.none() | st.booleans(),
        "rule/package/threshold": st.none() | st.floats(0.01, 1.0),
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(WANTED, max_size=5))
def test_a_restart_changes_nothing(store: Store, wanted: list[dict[str, Value | None]]) -> None:
    now = Settings({"porch": PORCH}, store)
    for change in wanted:
        now.change("porch", change)
        assert Settings({"porch": PORCH}, store).of("porch") == now.of("porch")
