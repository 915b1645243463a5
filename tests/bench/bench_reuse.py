"""What does it cost in answers, and save in time, that still frames take others' features?

    python -m tests.bench.bench_reuse [--seconds S] [--below LEVELS ...] [--gate motion] [FILE ...]

Drawn cameras, day and night, through H.264, the bundled model, the example rules; every question of
the scenes is asked of every window. Each recording is looked at once with features of its own for
each frame, then once for each threshold (`model.reuse_unchanged`). The last line is of
SmolVLM2-256M with random weights: a window with one new frame. Further recordings (FILE) have no
truth: of them only what was not encoded is told. Times are CPU time of one thread: others may be
busy.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import structlog

from daemon.config import load_config
from pipelines.playback import Playback, PlayClock, View
from pipelines.rules import Rule
from pipelines.scenes.address import parse_scene
from pipelines.scenes.film import film
from pipelines.scenes.truth import QUESTIONS
from pipelines.scenes.verdict import Verdict
from pipelines.smolvlm2.loading import from_name
from pipelines.smolvlm2.model import SmolVLM2
from pipelines.smolvlm2.random_weights import write_random_checkpoint
from pipelines.sources import SourceUrl, open_source
from pipelines.types import Frame, Look, Observation, Window
from pipelines.window_plan import WindowPlan
from tests.scene_proof import NEEDED, answered, without_reason

CONFIG: Final = Path(__file__).parents[2] / "configs" / "scene_rules.yaml"
SCENES: Final = (
    "porch?seed=3000000&light=day", "porch?seed=3000001&light=night",
    "driveway?seed=3000002&light=day", "driveway?seed=3000003&light=night",
    "street?seed=3000004&light=day", "yard?seed=3000005&light=night",
)  # fmt: skip
DECIDING: Final = (0.4, 0.5, 0.7)  # p_yes from which an answer is yes
BELOW: Final = (4.0, 6.0, 8.0, 12.0, 24.0)


@dataclass(slots=True)
class Tally:
    """What came of one threshold."""

    encoded: int = 0
    reused: int = 0
    cpu_s: float = 0.0
    answers: int = 0
    decisions: int = 0
    turned: int = 0  # decisions other than without reuse
    known: int = 0  # answers whose truth is known
    wrong: int = 0  # of them, at 0.5
    expected: int = 0
    found: int = 0
    false: int = 0


class Timed:
    """A model, and the CPU time that its looks took."""

    def __init__(self, model: SmolVLM2) -> None:
        self.model = model
        self.cpu_s = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def observe_many(self, looks: Sequence[Look]) -> Sequence[Any]:
        began_s = time.process_time()
        seen = self.model.observe_many(looks)
        self.cpu_s += time.process_time() - began_s
        return seen


def main() -> None:
    """Print a line for each threshold."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--below", type=float, nargs="+", default=list(BELOW))
    parser.add_argument("--gate", choices=("always", "motion"), default="always")
    parser.add_argument("files", nargs="*", type=Path)
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    plan = WindowPlan(num_frames=8, interval_s=1.0, stride_s=1.0, gate=args.gate)
    models = {
        below: from_name("bundled", engine="torch", num_threads=1, reuse_below=below)
        for below in (None, *args.below)
    }
    with tempfile.TemporaryDirectory() as folder:
        tallies = drawn(models, plan, args.seconds, Path(folder))
    say(f"{len(SCENES)} cameras of {args.seconds:g} s, gate: {args.gate}")
    for below, tally in tallies.items():
        say(line_of(below, tally, tallies[None]))
    for file in args.files:
        looks = {b: watch(Timed(m), file, view(str(file), plan, ()))[0] for b, m in models.items()}
        for below, seen in looks.items():
            if below is not None:
                say(f"{file.name}, below {below:g}: not encoded {share(*counts(seen)):.1%}")
    say(full_size(args.below[0]))


def drawn(
    models: dict[float | None, SmolVLM2], plan: WindowPlan, seconds: float, folder: Path
) -> dict[float | None, Tally]:
    """Look at each drawn camera with each model."""
    tallies: dict[float | None, Tally] = {below: Tally() for below in models}
    config = load_config(CONFIG, {})
    for number, name in enumerate(SCENES):
        scene = parse_scene(f"scene://{name}")
        file = folder / f"{number}.mp4"
        for _ in film(scene, seconds, file):
            pass
        place = name.partition("?")[0]
        rules = config.rules_for(place) if place in config.cameras else ()
        exact: dict[float, Observation] = {}
        for below, model in models.items():
            timed = Timed(model)
            seen, playback = watch(timed, file, view(name, plan, (*rules, *others(rules))))
            exact = exact or {look.end_s: look for look in seen}
            tally = tallies[below]
            tally.cpu_s += timed.cpu_s
            encoded, reused = counts(seen)
            tally.encoded, tally.reused = tally.encoded + encoded, tally.reused + reused
            compare(tally, seen, exact, Verdict(scene.script, plan))
            score(tally, rules, playback, Verdict(scene.script, plan), seconds)
        sys.stderr.write(f"{name}: looked at\n")
    return tallies


def others(rules: Sequence[Rule]) -> Iterator[Rule]:
    """Every other question of the scenes, as a rule that never opens."""
    asked = {rule.ask for rule in rules}
    for kind, (question, *_) in QUESTIONS.items():
        if question not in asked:
            yield Rule(f"other_{kind}", question, open_above=1.0, close_below=0.5)


def view(name: str, plan: WindowPlan, rules: Sequence[Rule]) -> View:
    return View(name, plan, tuple(replace(rule, describe=False) for rule in rules), "What is it?")


def watch(model: Timed, file: Path, how: View) -> tuple[tuple[Observation, ...], Playback]:
    """Play a recording."""
    clock = PlayClock(1.7e9)
    playback = Playback(model, open_source(SourceUrl(str(file)), clock), clock, how)  # type: ignore[arg-type]
    for _ in playback.run(threading.Event()):
        pass
    return playback.looks, playback


def counts(looks: Sequence[Observation]) -> tuple[int, int]:
    """Frames encoded, and frames that took others' features."""
    spent = [look.timings for look in looks]
    return sum(t.frames_encoded for t in spent), sum(t.frames_reused for t in spent)


def compare(
    tally: Tally, seen: Sequence[Observation], exact: dict[float, Observation], verdict: Verdict
) -> None:
    """Hold answers against those without reuse, and against the truth."""
    for look in seen:
        for question, p_yes in look.answers.items():
            tally.answers += 1
            tally.decisions += len(DECIDING)
            was = exact[look.end_s].answers[question]
            tally.turned += sum((p_yes >= least) != (was >= least) for least in DECIDING)
            true = verdict.answer(question, look.end_s)
            if true is not None:
                tally.known += 1
                tally.wrong += (p_yes >= 0.5) != true


def score(
    tally: Tally, rules: Sequence[Rule], playback: Playback, verdict: Verdict, seconds: float
) -> None:
    """Hold the example rules' alerts against the script."""
    for rule in rules:
        alerts = [
            event.captured_s
            for event in playback.events
            if event.rule == rule.name and event.event_type == "rule_match"
        ]
        wanted = verdict.expected(rule.ask, NEEDED, 8.0, seconds - 5.0)
        tally.expected += len(wanted)
        tally.found += sum(bool(hits) for _, hits in answered(wanted, alerts))
        tally.false += len(without_reason(verdict.stretches(rule.ask, 0.0, seconds), alerts))


def full_size(below: float) -> str:
    """Windows of the 256M with one new frame, that frame still or not, in CPU time."""
    spent: dict[float | None, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        directory = write_random_checkpoint(Path(folder), "256m")
        for reuse in (None, below):
            model = from_name(directory, engine="torch", num_threads=1, reuse_below=reuse)
            frames = few_frames(model.frame_edge_px)
            windows = [window_of(frames[i : i + 8]) for i in range(4)]
            model.observe(windows[0], ["Is there a person?"], None)
            began_s = time.process_time()
            for window in windows[1:]:
                model.observe(window, ["Is there a person?"], None)
            spent[reuse] = (time.process_time() - began_s) / 3
    return f"256M, one new frame: {spent[None]:.2f} s a window, still {spent[below]:.2f} s"


def few_frames(edge_px: int) -> list[Frame]:
    """Six in which something moves, then still ones: so a window's prompt is another each time."""
    image = np.full((edge_px * 9 // 16, edge_px, 3), 90, np.uint8)
    frames = []
    for seq in range(11):
        image = image.copy()
        if seq < 6:
            image[40:160, 20 + 40 * seq : 60 + 40 * seq] = 220
        frames.append(Frame("yard", 0, seq, float(seq), float(seq), image, 0.0))
    return frames


def window_of(frames: Sequence[Frame]) -> Window:
    """A window of a camera's own schedule."""
    start_s, end_s = frames[0].captured_s, frames[-1].captured_s
    return Window("yard", 0, tuple(frames), start_s, end_s, "stride", end_s)


def share(encoded: int, reused: int) -> float:
    return reused / max(1, encoded + reused)


def line_of(below: float | None, tally: Tally, off: Tally) -> str:
    """A row of the table."""
    name = "off" if below is None else f"{below:g}"
    return (
        f"| {name} | {share(tally.encoded, tally.reused):.1%} | "
        f"{tally.turned} of {tally.decisions} ({tally.turned / tally.decisions:.2%}) | "
        f"{tally.wrong} of {tally.known} ({tally.wrong / tally.known:.2%}) | "
        f"{tally.found} of {tally.expected} | {tally.false} | {tally.cpu_s / off.cpu_s:.2f} |"
    )


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
