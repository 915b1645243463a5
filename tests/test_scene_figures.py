"""Do the shipped example rules keep what the README promises of them?

`make proof` plays random scenes and writes docs/scene_proof.json. That file is held against the
goals, the README, and the model, rules and scripts that it is about: who changes one of those must
prove them again.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.scene_proof import SCRIPTS, Figures, about

ROOT = Path(__file__).parents[1]
PROOF: Figures = json.loads((ROOT / "docs" / "scene_proof.json").read_text())
LEAST_INCIDENTS = 100
GOAL = 0.97


def test_the_figures_are_of_this_model_and_these_rules_and_scripts() -> None:
    assert PROOF["of"] == about(), "prove them again: make proof"


def test_all_scripts_were_played_and_each_rule_had_its_incidents() -> None:
    assert PROOF["scripts"] == 2 * SCRIPTS
    few = {n: r for n, r in PROOF["rules"].items() if r["incidents"] < LEAST_INCIDENTS}
    assert few == {}


def test_each_rule_is_as_right_as_is_promised() -> None:
    rules = PROOF["rules"]
    assert len(rules) == 10
    assert {n: r for n, r in rules.items() if min(r["recall"], r["precision"]) < GOAL} == {}
    assert {n: r for n, r in rules.items() if r["duplicates"]} == {}
    assert PROOF["wrong_causes"] == []
    assert PROOF["times_real_time"] > 1.0


def test_the_readme_quotes_the_figures() -> None:
    readme = (ROOT / "README.md").read_text()
    for name, found in PROOF["rules"].items():
        right = f"{found['recall']:.3f} | {found['precision']:.3f}"
        assert f"| `{name}` | {found['incidents']} | {right} |" in readme
    said = " ".join(readme.split())
    assert re.search(rf"\b{PROOF['times_real_time']:.1f} times real time", said)
