"""How often are the shipped example rules right about random drawn scenes?

Knows scripts, verdicts and what is stored; how it is played is `tests.scene_play`'s affair. Every
incident is held against the script, and every miss must have a cause that `why` tells rightly.

    python -m tests.scene_proof FOLDER PROCESSES FIGURES

plays the scripts that FOLDER does not hold yet, and writes what came of all to the file FIGURES.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Final

import yaml

from daemon.config import Config, load_config
from pipelines.rules import Rule
from pipelines.scenes.verdict import Stretch, Verdict
from pipelines.smolvlm2.files import fingerprint
from pipelines.smolvlm2.loading import from_name
from pipelines.smolvlm2.presets import find_checkpoint
from pipelines.sources import SourceUrl
from tests.miss_cause import cause_of_miss
from tests.scene_play import ScenePlay

CONFIG: Final = Path(__file__).parents[1] / "configs" / "scene_rules.yaml"
SECONDS: Final = 360.0  # of each script
SCRIPTS: Final = 25  # of each camera; then each rule has a hundred incidents to find, or more
FIRST_SEED: Final = 3_000_000  # no script of the model's training, nor those the rules were set on
# Drawn evenly, a porch's packages come twice as often as its visitors, and a driveway's car once in
# three minutes. Nothing is left out, and stretches in which nothing happens are in it.
MIX: Final = {
    "porch": "person_arrive:5.5,package_deliver:13.5,package_take:13.5,person_cross_left:2.5,"
    "person_cross_right:2.5,dog_cross_left:0.5,dog_cross_right:0.5,empty:0.5,package_alone:0.5,"
    "person_stand:0.1",
    "driveway": "car_arrive:11,car_leave:11,person_cross_left:6,person_cross_right:6,"
    "dog_cross_left:2.5,dog_cross_right:2.5,person_arrive:0.4,package_deliver:0.5,"
    "package_take:0.5,car_parked:1,empty:1",
}
PAUSE_S: Final = "7.5-9.5"  # no window shows one event's end and the next one's beginning
EARLY_S, LATE_S = 0.5, 3.0  # as in the demo
NEEDED: Final = 2  # windows whose answer is yes make an incident, whatever a rule's debounce says
COUNTS: Final = ("expected", "found", "alerts", "false", "twice")

Figures = dict[str, Any]


def configured(seed: int) -> Config:
    """The shipped configuration, with one random script for each of its cameras."""
    config = load_config(CONFIG, {})
    cameras = {
        name: camera.model_copy(
            update={
                "source": SourceUrl(
                    f"scene://{name}?seed={seed}&pause_s={PAUSE_S}&mix={MIX[name]}"
                ),
                "describe": None,
            }
        )
        for name, camera in config.cameras.items()
    }
    return config.model_copy(update={"cameras": cameras})


def prove(seed: int, folder: Path) -> Figures:
    """Play one random script at each camera and judge it. Runs in a process of its own."""
    began_s, cpu_s = time.monotonic(), time.process_time()
    config = configured(seed)
    # As fast as OpenVINO here, within a fifth either way, and there wherever smolwatch is.
    model = from_name("bundled", engine="torch", num_threads=1)
    store = folder / f"{seed}.db"
    store.unlink(missing_ok=True)
    with ScenePlay(config, model, store) as seen:
        seen.watch(SECONDS)
    figures: Figures = {
        "scripts": len(config.cameras),
        "seconds": SECONDS,
        "windows": seen.app.inference.windows_run,
        "wall_s": time.monotonic() - began_s,
        "cpu_s": time.process_time() - cpu_s,
        "rules": {},
        "misses": [],
        "wrong_causes": [],
        "false_alarms": [],
    }
    for camera, plan in ((name, one.plan()) for name, one in config.cameras.items()):
        verdict = Verdict(seen.scripts[camera], plan)
        for rule in config.rules_for(camera):
            _judge(figures, seen, camera, rule, verdict)
    return figures


def _judge(figures: Figures, seen: ScenePlay, camera: str, rule: Rule, verdict: Verdict) -> None:
    first_s, last_s = seen.app.config.cameras[camera].plan().span_s + 1.0, SECONDS - 5.0
    wanted = verdict.expected(rule.ask, NEEDED, first_s, last_s)
    at_s = seen.alerts_s(camera, rule.name)
    counts = figures["rules"].setdefault(rule.name, dict.fromkeys(COUNTS, 0))
    where = f"{seen.path.stem} {camera} {rule.name}"
    false_s = without_reason(verdict.stretches(rule.ask, 0.0, SECONDS), at_s)
    counts["alerts"] += len(at_s)
    counts["false"] += len(false_s)
    figures["false_alarms"] += [f"{where} {t:.1f} s" for t in false_s]
    for stretch, hits in answered(wanted, at_s):
        counts["expected"] += 1
        counts["found"] += bool(hits)
        counts["twice"] += max(0, len(hits) - 1)
        if not hits:
            cause = cause_of_miss(seen.path, camera, rule, seen.begun, stretch)
            missed = f"{where} {stretch.start_s:.1f}-{stretch.end_s:.1f} s"
            figures["misses"].append({"missed": missed, "why": cause.said})
            figures["wrong_causes"] += [f"{missed}: {text}" for text in cause.wrong]


def without_reason(true: Sequence[Stretch], at_s: Sequence[float]) -> list[float]:
    """The alerts that are of nothing that happened, however short.

    Stricter than `Verdict.is_false`: that the frames could not tell is no excuse, unless what they
    begin or end to show really comes.
    """
    return [t for t in at_s if not any(_is_of(stretch, t) for stretch in true)]


def answered(
    wanted: Sequence[Stretch], at_s: Sequence[float]
) -> Iterator[tuple[Stretch, list[float]]]:
    """Each stretch with its alerts. An alert is of one stretch: two near ones do not share it."""
    left = list(at_s)
    for stretch in wanted:
        hits = [t for t in left if _is_of(stretch, t)]
        left = [t for t in left if t not in hits]
        yield stretch, hits


def _is_of(stretch: Stretch, t: float) -> bool:
    return stretch.early_s - EARLY_S <= t <= stretch.late_s + LATE_S


def prove_all(folder: Path, scripts: int, processes: int) -> Iterator[Figures]:
    """Each script's figures, the kept ones first; what is played is kept in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    seeds = range(FIRST_SEED, FIRST_SEED + scripts)
    kept = {seed: folder / f"{seed}.json" for seed in seeds}
    for path in kept.values():
        if path.exists():
            yield json.loads(path.read_text())
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawn) as pool:
        todo = {pool.submit(prove, s, folder): p for s, p in kept.items() if not p.exists()}
        for done in as_completed(todo):
            todo[done].write_text(json.dumps(done.result()))
            yield done.result()


def summary(parts: list[Figures]) -> Figures:
    """All scripts together, and each rule's precision and recall."""
    rules: dict[str, Counter[str]] = {}
    for part in parts:
        for name, counts in part["rules"].items():
            rules.setdefault(name, Counter()).update(counts)
    seconds, cpu_s = sum(p["seconds"] for p in parts), sum(p["cpu_s"] for p in parts)
    return {
        "scripts": sum(p["scripts"] for p in parts),
        "seconds": seconds,  # of two cameras at once
        "windows": sum(p["windows"] for p in parts),
        "times_real_time": round(seconds / cpu_s, 2),
        "times_real_time_wall": round(seconds / sum(p["wall_s"] for p in parts), 2),
        "rules": {
            name: {
                "incidents": c["expected"],
                "recall": round(c["found"] / max(1, c["expected"]), 4),
                "alerts": c["alerts"],
                "precision": round(1 - c["false"] / max(1, c["alerts"]), 4),
                "duplicates": c["twice"],
            }
            for name, c in sorted(rules.items())
        },
        **{
            key: [line for part in parts for line in part[key]]
            for key in ("misses", "wrong_causes", "false_alarms")
        },
    }


def about() -> dict[str, str]:
    """What the figures are of: when it changes, they must be found again."""
    written = yaml.safe_load(CONFIG.read_text())  # as it is written: comments do not matter
    told = json.dumps([written, MIX, PAUSE_S, SECONDS, SCRIPTS, FIRST_SEED], sort_keys=True)
    return {
        "model": fingerprint(find_checkpoint("bundled")[0]),
        "rules_and_scripts": hashlib.sha256(told.encode()).hexdigest()[:16],
    }


def main(folder: Path, processes: int, figures: Path) -> None:
    """Play all scripts and write; progress goes to stderr."""
    parts: list[Figures] = []
    for part in prove_all(folder, SCRIPTS, processes):
        parts.append(part)
        print(f"{len(parts)} of {SCRIPTS} scripts", file=sys.stderr, flush=True)  # noqa: T201
    figures.write_text(json.dumps({"of": about(), **summary(parts)}, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
