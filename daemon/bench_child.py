"""What does one process of the benchmark do?

Knows a model and its own clock; started by `daemon.bench_model`, one for ours and one for the
naive way, so that neither warms, slows or swells the other. Says one JSON object a line, and ends
when its standard input does: no death of the parent leaves it behind.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from daemon import logs
from daemon.bench_rows import INTERVAL_S, MAIN, NUM_FRAMES, WORDS, Measured, Scenario
from pipelines.errors import InferenceError
from pipelines.freed import trim
from pipelines.types import Anchor, Frame, Image, Look, Observation, Window

QUESTIONS = (
    "Did a person arrive?", "Did a person leave?", "Is there a package?", "Is a car parked?",
    "Did a car arrive?", "Is a dog in the picture?", "Is it night?", "Did a person stand still?",
)  # fmt: skip
WARM_UP = 2  # windows before those that count: buffers, kernels chosen for a shape, clocks


@dataclass(frozen=True, slots=True)
class Task:
    """What the parent wants, as its JSON says."""

    role: Literal["ours", "naive", "compared"]
    directory: str
    engine: str
    precision: str
    device: str
    threads: int
    scenarios: tuple[Scenario, ...]
    runs: int  # windows to time for a scenario
    seconds: float  # after which a scenario ends with fewer of them

    @classmethod
    def read(cls, text: str) -> Task:
        """From JSON."""
        fields = json.loads(text)
        scenarios = tuple(Scenario(**one) for one in fields.pop("scenarios"))
        return cls(**fields, scenarios=scenarios)


def main() -> None:
    """Run the task that the first argument holds."""
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    task = Task.read(sys.argv[1])
    from transformers.utils import logging as transformers_logging  # noqa: PLC0415 - seconds

    logs.setup(level="warning")
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    for told in _work(task):
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


def _work(task: Task) -> Iterator[dict[str, Any]]:
    if task.role == "compared":
        from daemon.bench_compare_child import compared  # noqa: PLC0415 - it knows this file

        return compared(task)
    return ours(task) if task.role == "ours" else naive(task)


def ours(task: Task) -> Iterator[dict[str, Any]]:
    """What ran, then each scenario's figures, then the roofline's."""
    import torch  # noqa: PLC0415

    from daemon.bench_products import product_rates, shapes_of  # noqa: PLC0415
    from daemon.bench_roofline import achieved  # noqa: PLC0415
    from daemon.bench_tokens import Prompts  # noqa: PLC0415
    from pipelines.smolvlm2.loading import from_name  # noqa: PLC0415
    from pipelines.smolvlm2.prompt import DESCRIBE_PROMPT  # noqa: PLC0415

    imports_mb = peak_rss_mb()
    began_s = time.perf_counter()
    model = from_name(
        Path(task.directory),
        engine=task.engine,  # type: ignore[arg-type]
        precision=task.precision,  # type: ignore[arg-type]
        device=task.device,
        num_threads=task.threads,
        max_description_tokens=WORDS,
    )
    running = model.running
    assert running is not None  # noqa: S101 - `from_name` says it
    yield {
        "engine": running.engine, "precision": running.precision, "device": running.device,
        "threads": torch.get_num_threads(),
        "load_s": time.perf_counter() - began_s, "imports_mb": imports_mb,
    }  # fmt: skip
    timed: list[Measured] = []
    for number, scenario in enumerate(task.scenarios):
        streams = [
            stream(
                f"{number}-{camera}",
                model.frame_edge_px,
                scenario.new_frames,
                anchored=scenario.anchored,
                still=scenario.still,
            )
            for camera in range(scenario.cameras)
        ]
        asked = QUESTIONS[: scenario.questions]
        prompt = DESCRIBE_PROMPT if scenario.new_tokens else None

        def look() -> list[Observation]:
            if not scenario.still:  # noqa: B023
                model.last_texts.clear()
            looks = [Look(next(windows), asked, prompt) for windows in streams]  # noqa: B023
            return [_seen(one) for one in model.observe_many(looks)]

        measured = _time_windows(task, scenario, look)
        timed.append(measured)
        trim()  # as the daemon does once a minute (`daemon.tidying`)
        yield {"measured": asdict(measured)}
    prompts = Prompts(Path(task.directory))
    shapes = shapes_of(prompts.config, prompts.window(QUESTIONS[: MAIN.questions]))
    rates = product_rates(running.device, running.precision, shapes)
    encode, prefill = achieved(prompts, QUESTIONS, timed)
    yield {
        "roofline": {
            "product_gflops": rates, "encode_gflops": encode, "prefill_gflops": prefill,
        }
    }  # fmt: skip


def _seen(one: Observation | InferenceError) -> Observation:
    if isinstance(one, InferenceError):
        raise one
    return one


def naive(task: Task) -> Iterator[dict[str, Any]]:
    """The time of one call of transformers' `generate`, for each number of new tokens."""
    from daemon.bench_naive import NaiveModel  # noqa: PLC0415

    model = NaiveModel(Path(task.directory), task.device, task.threads)
    for new_tokens in sorted({scenario.baseline for scenario in task.scenarios}):
        windows = stream("naive", model.frame_edge_px, 1)
        model.ask(next(windows), QUESTIONS[0], 1)
        spent_ms: list[float] = []
        until_s = time.perf_counter() + task.seconds
        while not spent_ms or (len(spent_ms) < task.runs and time.perf_counter() < until_s):
            window = next(windows)
            began_s = time.perf_counter()
            model.ask(window, QUESTIONS[0], new_tokens)
            spent_ms.append((time.perf_counter() - began_s) * 1e3)
        yield {
            "new_tokens": new_tokens, "call_ms": statistics.median(spent_ms),
            "calls": len(spent_ms), "peak_rss_mb": peak_rss_mb(),
        }  # fmt: skip


def stream(
    camera: str, edge_px: int, new_frames: int, *, anchored: bool = False, still: bool = False
) -> Iterator[Window]:
    """A camera's windows for ever, each with `new_frames` that the one before has not."""
    noise = np.random.default_rng(list(camera.encode())).integers(
        0, 80, (edge_px * 9 // 16, edge_px, 3), np.uint8
    )
    frames: deque[Frame] = deque(maxlen=None if anchored else NUM_FRAMES)
    anchor = Anchor(NUM_FRAMES, 2 * NUM_FRAMES) if anchored else None
    seqs = itertools.count()
    for number in itertools.count():
        for _ in range(new_frames if frames else NUM_FRAMES):
            frames.append(_frame(camera, next(seqs), noise, still=still))
        if anchor is not None and len(frames) > anchor.most:
            frames = deque(list(frames)[-NUM_FRAMES:])
        start_s, end_s = frames[0].captured_s, frames[-1].captured_s
        yield Window(camera, number, tuple(frames), start_s, end_s, "stride", end_s, anchor)


def _frame(camera: str, seq: int, noise: Image, *, still: bool) -> Frame:
    """Noise with a bright square that moves, or does not."""
    height, width = noise.shape[:2]
    image = noise.copy()
    step = 0 if still else seq
    left = step * 7 % (width - width // 4)
    image[height // 4 : height // 2, left : left + width // 4] = (250, 40 * (step % 6), 90)
    return Frame(camera, 0, seq, seq * INTERVAL_S, seq * INTERVAL_S, image, 0.0)


def _time_windows(
    task: Task, scenario: Scenario, look: Callable[[], list[Observation]]
) -> Measured:
    least = NUM_FRAMES + 1 if scenario.anchored else 1  # windows from one start to the next
    began_s = time.perf_counter()
    # A GPU records what it runs, for each length of a prompt, and anew when a longer one needs more
    # room: in the second round of an anchored window it was still recording.
    for number in range(max(WARM_UP, 2 * least)):
        if number >= WARM_UP and time.perf_counter() - began_s > task.seconds:
            break
        look()
    rounds_ms: list[float] = []
    seen: list[Observation] = []
    until_s = time.perf_counter() + task.seconds
    while len(rounds_ms) < least or (
        len(rounds_ms) < task.runs and time.perf_counter() < until_s and least == 1
    ):
        began_s = time.perf_counter()
        seen += look()
        rounds_ms.append((time.perf_counter() - began_s) * 1e3)
    timings = [one.timings for one in seen]
    middle = statistics.fmean if scenario.anchored else statistics.median
    return Measured(
        scenario,
        window_ms=middle(rounds_ms) / scenario.cameras,
        encode_ms=middle([t.encode_ms for t in timings]),
        prefill_ms=middle([t.prefill_ms for t in timings]),
        decode_ms=middle([t.decode_ms for t in timings]),
        windows=len(seen),
        peak_rss_mb=peak_rss_mb(),
    )


def peak_rss_mb() -> int:
    """The most memory that this process has held, in 10^6 bytes.

    Not `getrusage`: after a fork and exec its peak is the parent's, where that is the larger one.
    """
    for line in (
        Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    ):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 // 1_000_000
    return 0


def _end_with_parent() -> None:
    # Not sys.stdin: its lock, held here, makes the interpreter's own end fatal.
    os.read(sys.stdin.fileno(), 1)  # gives nothing until the parent is gone or wants an end
    os._exit(1)


if __name__ == "__main__":
    main()
