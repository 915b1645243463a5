"""How well does the bundled model see?

    python -m pipelines.scenes.evaluate MODEL_DIR [--clips 2000] [--json FILE]

Knows no training. Held-out clips are rendered whole, pass through H.264 and reach the model as a
camera's frames would; the same code answers that answers in the daemon. Seeds from 1,000,000 on
are never used for training.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np

from pipelines.capture import scale_to_edge
from pipelines.scenes.acts import EVENT_NAMES
from pipelines.scenes.architecture import FRAME_PX
from pipelines.scenes.clips import encode_h264
from pipelines.scenes.render import CRF, FPS, event_clip
from pipelines.scenes.truth import QUESTIONS, WindowTruth
from pipelines.smolvlm2.loading import from_name
from pipelines.smolvlm2.model import SmolVLM2
from pipelines.smolvlm2.prompt import DESCRIBE_PROMPT
from pipelines.types import Image, Observation

FIRST_SEED: Final = 1_000_000
FRAMES: Final = 8
REVERSIBLE: Final = ("person_arrive", "person_leave", "car_arrive", "car_leave")
TURNED: Final = {  # question kind -> what it becomes when time runs backwards
    "person_arrive": "person_leave",
    "person_leave": "person_arrive",
    "car_arrive": "car_leave",
    "car_leave": "car_arrive",
}


@dataclass(frozen=True)
class Sample:
    """Frames as the model gets them, and their truth."""

    event: str
    images: tuple[Image, ...]  # uint8 RGB [72, 128, 3]
    times_s: tuple[float, ...]
    truth: WindowTruth

    def reversed(self) -> Sample:
        """The same frames, last first."""
        times = tuple(self.times_s[-1] - t for t in reversed(self.times_s))
        return Sample(self.event, self.images[::-1], times, self.truth.reversed())


@dataclass
class Score:
    """Right answers out of all."""

    right: int = 0
    total: int = 0

    def add(self, *, right: bool) -> None:
        """Count one answer."""
        self.right += right
        self.total += 1

    @property
    def share(self) -> float:
        """0..1; 1 where nothing was asked."""
        return self.right / self.total if self.total else 1.0


@dataclass
class Report:
    """All figures of one evaluation."""

    descriptions: Score = field(default_factory=Score)
    by_event: defaultdict[str, Score] = field(default_factory=lambda: defaultdict(Score))
    answers: defaultdict[str, Score] = field(default_factory=lambda: defaultdict(Score))
    yes_answers: defaultdict[str, Score] = field(default_factory=lambda: defaultdict(Score))
    reversed_descriptions: Score = field(default_factory=Score)
    reversed_answers: Score = field(default_factory=Score)
    partial_descriptions: Score = field(default_factory=Score)
    partial_answers: Score = field(default_factory=Score)
    wrong: Counter[str] = field(default_factory=Counter)


def draw_sample(index: int) -> tuple[Sample, Sample]:
    """Clip `index` as a whole, and a window of it that holds 20 to 80% of the event."""
    cv2.setNumThreads(1)
    event = EVENT_NAMES[index % len(EVENT_NAMES)]
    clip = event_clip(event, FIRST_SEED + index)
    buffer = io.BytesIO()
    encode_h264(clip.images(), FPS, CRF, buffer)
    buffer.seek(0)
    with av.open(buffer, "r") as container:
        decoded = [
            np.asarray(f.to_ndarray(format="rgb24"), np.uint8) for f in container.decode(video=0)
        ]
    whole = np.linspace(0, clip.num_frames - 1, FRAMES).round().astype(int).tolist()
    # The first frames only, up to where 20 to 80% of the event have passed.
    share = 0.2 + 0.6 * random.Random(index).random()  # noqa: S311 - a reproducible draw
    stop_s = clip.lead_s + share * clip.act.duration_s
    part = np.linspace(0, min(clip.num_frames - 1, stop_s * FPS), FRAMES).round().astype(int)
    samples = []
    for chosen in (whole, part.tolist()):
        states = [clip.act.state_at(i / FPS - clip.lead_s) for i in chosen]
        samples.append(
            Sample(
                event,
                tuple(scale_to_edge(decoded[i], FRAME_PX) for i in chosen),
                tuple(i / FPS for i in chosen),
                WindowTruth.of(states, night=clip.act.stage.night),
            )
        )
    return samples[0], samples[1]


def draw_samples(count: int) -> Iterator[tuple[Sample, Sample]]:
    """All samples, drawn by all cores."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(draw_sample, range(count), chunksize=8)


def _ask(model: SmolVLM2, sample: Sample, kinds: Sequence[str], turn: int) -> Observation:
    questions = [QUESTIONS[kind][turn % len(QUESTIONS[kind])] for kind in kinds]
    return model.observe_images(sample.images, sample.times_s, questions, DESCRIBE_PROMPT)


def judge(model: SmolVLM2, whole: Sample, part: Sample, turn: int, report: Report) -> None:
    """Ask everything about one clip and count what is right."""
    kinds = list(QUESTIONS)
    seen = _ask(model, whole, kinds, turn)
    right = seen.description in whole.truth.descriptions()
    report.descriptions.add(right=right)
    report.by_event[whole.event].add(right=right)
    if not right:
        report.wrong[f"{whole.event}: {seen.description}"] += 1
    truth = whole.truth.answers()
    for kind, p_yes in zip(kinds, seen.answers.values(), strict=True):
        if truth[kind] is not None:
            report.answers[kind].add(right=(p_yes >= 0.5) == truth[kind])
            if truth[kind]:
                report.yes_answers[kind].add(right=p_yes >= 0.5)
    if whole.event in REVERSIBLE:
        _judge_reversed(model, whole.reversed(), turn, report)
    if not part.truth.whole:
        _judge_part(model, part, turn, report)


def _judge_reversed(model: SmolVLM2, back: Sample, turn: int, report: Report) -> None:
    kinds = [k for k in TURNED if k.split("_")[0] == back.event.split("_")[0]]
    seen = _ask(model, back, kinds, turn)
    report.reversed_descriptions.add(right=seen.description in back.truth.descriptions())
    turned = TURNED[back.event]
    for kind, p_yes in zip(kinds, seen.answers.values(), strict=True):
        report.reversed_answers.add(right=(p_yes >= 0.5) == (kind == turned))


def _judge_part(model: SmolVLM2, part: Sample, turn: int, report: Report) -> None:
    truth = {k: a for k, a in part.truth.answers().items() if a is not None}
    seen = _ask(model, part, list(truth), turn)
    for answer, p_yes in zip(truth.values(), seen.answers.values(), strict=True):
        report.partial_answers.add(right=(p_yes >= 0.5) == answer)
    if part.truth.descriptions():
        report.partial_descriptions.add(right=seen.description in part.truth.descriptions())


def window_ms(model: SmolVLM2, sample: Sample, repeats: int = 12) -> float:
    """Median milliseconds of one window: 8 frames that are all new, 4 questions, no words."""
    questions = [QUESTIONS[k][0] for k in ("person", "car", "package_deliver", "person_arrive")]
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        model.observe_images(sample.images, sample.times_s, questions, None)
        taken.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(taken[2:])


def figures(report: Report, count: int) -> dict[str, object]:
    """The report as plain numbers."""

    def share(score: Score) -> float:
        return round(score.share, 4)

    return {
        "clips": count,
        "descriptions": share(report.descriptions),
        "descriptions_by_event": {k: share(s) for k, s in report.by_event.items()},
        "answers": {k: share(s) for k, s in report.answers.items()},
        "worst_answer": min(share(s) for s in report.answers.values()),
        "answers_where_yes": {k: share(s) for k, s in report.yes_answers.items()},
        "reversed_descriptions": share(report.reversed_descriptions),
        "reversed_answers": share(report.reversed_answers),
        "partial_descriptions": share(report.partial_descriptions),
        "partial_answers": share(report.partial_answers),
        "partial_windows": report.partial_descriptions.total,
        "wrong": dict(report.wrong.most_common(12)),
    }


def main(argv: list[str] | None = None) -> None:
    """Evaluate a model directory and print the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", help="directory of the checkpoint, or `bundled`")
    parser.add_argument("--clips", type=int, default=2_000)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args(argv)
    model = from_name(args.model, precision="f32")
    report = Report()
    sample: Sample | None = None
    for turn, (whole, part) in enumerate(draw_samples(args.clips)):
        judge(model, whole, part, turn, report)
        sample = whole
    told = figures(report, args.clips)
    if sample is not None:
        told["window_ms"] = round(window_ms(model, sample), 1)
        told["cores"] = os.cpu_count()
    text = json.dumps(told, indent=2)
    sys.stdout.write(text + "\n")
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
