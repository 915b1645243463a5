"""Do the dashboard, the alert rules and docs/monitoring.md name what there is?"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.metrics import Exposition
from tests.daemon.test_metrics import FixedGauges, figures, measured

DOCS = Path(__file__).parents[1] / "docs"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DOCS / "prometheus" / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((DOCS / "grafana" / "smolwatch.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [target for panel in PANELS for target in panel["targets"]]
GUIDE = (DOCS / "monitoring.md").read_text()
SAMPLES: dict[str, dict[str, set[str]]] = {}  # metric -> label -> values
ADDED = {"instance", "job"}  # by Prometheus


def samples() -> dict[str, dict[str, set[str]]]:
    """What is really told, with its labels."""
    if not SAMPLES:
        text = Exposition(FixedGauges(figures()), measured()).text().decode()
        for name, labels in re.findall(r"^([a-z_]+)(?:{(.*)})? \S+$", text, re.MULTILINE):
            known = SAMPLES.setdefault(name, {})
            for label, value in re.findall(r'(\w+)="([^"]*)"', labels):
                known.setdefault(label, set()).add(value)
    return SAMPLES


def named(expr: str) -> list[tuple[str, str]]:
    """Metrics in an expression, each with what stands in its braces."""
    return re.findall(r"\b((?:smolwatch|process)_[a-z_]+)(?:{([^}]*)})?", expr)


@pytest.mark.parametrize("expr", [t["expr"] for t in TARGETS] + [r["expr"] for r in RULES])
def test_each_metric_and_label_in_an_expression_exists(expr: str) -> None:
    found = named(expr)
    assert found or expr.startswith("up{")
    for name, matchers in found:
        assert name in samples(), name
        for label, operator, value in re.findall(r'(\w+)(=~|=|!=|!~)"([^"]*)"', matchers):
            assert label in {*samples()[name], *ADDED}, f"{name} has no label {label}"
            for one in value.split("|") if label in ("state", "result", "step") else ():
                assert one in samples()[name][label], f"{name} is never {label}={one}"
            assert operator == "=~" or "$" not in value, "a variable of several values"
    for by in re.findall(r"(?:by|on) \(([^)]*)\)", expr):
        labels = set(by.replace(" ", "").split(","))
        assert all(labels <= {*samples()[name], *ADDED} for name, _ in found), by
    assert expr.count("(") == expr.count(")")


def test_counters_are_not_shown_as_they_are() -> None:
    for expr in [t["expr"] for t in TARGETS] + [r["expr"] for r in RULES]:
        for name, _ in named(expr):
            if name.endswith(("_total", "_bucket", "_sum", "_count")):
                assert re.search(rf"(rate|increase)\({name}", expr), expr


def test_the_dashboard_shows_every_metric_of_ours_or_the_guide_says_why_not() -> None:
    shown = {name for target in TARGETS for name, _ in named(target["expr"])}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in samples()}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    missing = {name for name in families - shown if name.startswith("smolwatch_")}
    assert {name for name in missing if f"`{name}`" not in GUIDE} == set()


def test_the_dashboard_can_be_imported() -> None:
    assert DASHBOARD["uid"] == "smolwatch"
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies upon another"
        taken |= cells
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD)))
    assert used - {"__rate_interval", "__all"} == variables
    for panel in PANELS:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_each_alert_says_what_and_what_to_do_and_stands_in_the_guide() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES) >= 10
    for rule in RULES:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
        assert f"`{rule['alert']}`" in GUIDE
        for label in re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])):
            grouped = re.search(r"by \(([^)]*)\)", rule["expr"])
            if grouped and label != "le":
                assert label in grouped[1], f"{rule['alert']} has no {label} left"


def test_the_guide_describes_each_metric_and_no_other() -> None:
    told = set(re.findall(r"`(smolwatch_[a-z_]+)`", GUIDE))
    there = {re.sub(r"_(bucket|sum|count)$", "", name) for name in samples()}
    assert told == {name for name in there if name.startswith("smolwatch_")}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus' promtool is not here")
def test_promtool_takes_rules_and_metrics() -> None:
    subprocess.run(
        ["promtool", "check", "rules", str(DOCS / "prometheus" / "alerts.yaml")], check=True
    )
    text = Exposition(FixedGauges(figures()), measured()).text()
    told = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert told.stdout + told.stderr == b""
