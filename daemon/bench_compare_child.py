"""What does one model make of the same eight frames, and of one picture?

Knows one model and a clock; runs in a process of the benchmark (`daemon.bench_child`).
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from daemon.bench_child import QUESTIONS, Task, peak_rss_mb, stream
from daemon.bench_compare import Compared, Picture, Times
from daemon.bench_rows import NUM_FRAMES
from daemon.bench_tokens import Prompts
from pipelines.smolvlm2.model import SmolVLM2
from pipelines.smolvlm2.tiles import Tiling
from pipelines.types import Image, Observation

PICTURE_PX = (1080, 1920)  # height, width: what a camera sends
LARGEST_PX = (1920, 1920)  # a square is cut into the most tiles


def compared(task: Task) -> Iterator[dict[str, Any]]:
    """One line: what `Compared` holds."""
    import torch  # noqa: PLC0415

    from pipelines.smolvlm2.loading import from_name  # noqa: PLC0415

    directory = Path(task.directory)
    began_s = time.perf_counter()
    model = from_name(
        directory,
        engine=task.engine,  # type: ignore[arg-type]
        precision=task.precision,  # type: ignore[arg-type]
        device=task.device,
        num_threads=task.threads,
    )
    load_s = time.perf_counter() - began_s
    running = model.running
    assert running is not None  # noqa: S101 - `from_name` says it
    prompts = Prompts(directory)
    asked = QUESTIONS[:1]
    windows = stream("porch", model.frame_edge_px, NUM_FRAMES)
    sliding = stream("yard", model.frame_edge_px, 1)
    pictures = (_noise(PICTURE_PX, seed) for seed in itertools.count())
    model.observe(next(sliding), asked, None)  # the first of all does not count
    if running.device != "cpu":  # a GPU records each shape once; on a CPU it would take a minute
        model.observe_picture(next(pictures), asked, None)
    yield asdict(
        Compared(
            architecture=prompts.config["architectures"][0],
            of_time=prompts.of_time,
            knows_language=model.writes,
            frame_tokens=prompts.per_frame,
            window_prompt_tokens=prompts.window(asked),
            max_tokens=model.max_tokens,
            picture=_picture(directory, model, prompts, PICTURE_PX),
            largest=_picture(directory, model, prompts, LARGEST_PX),
            window=_timed(task, lambda: model.observe(next(windows), asked, None)),
            sliding=_timed(task, lambda: model.observe(next(sliding), asked, None)),
            single=_timed(task, lambda: model.observe_picture(next(pictures), asked, None)),
            engine=running.engine,
            precision=running.precision,
            device=running.device,
            threads=torch.get_num_threads(),
            load_s=load_s,
            peak_rss_mb=peak_rss_mb(),
        )
    )


def _picture(
    directory: Path, model: SmolVLM2, prompts: Prompts, size_px: tuple[int, int]
) -> Picture:
    """Into how many parts a picture of so many pixels is cut, and what they are to the model."""
    tiling = Tiling.of_checkpoint(directory, model.frame_edge_px)
    if tiling is None:
        parts, grid = 1, (0, 0)
    else:
        tiled = tiling.cut(_noise(size_px, 0))
        parts, grid = len(tiled.images), (tiled.rows, tiled.columns)
    tokens = prompts.picture(grid, QUESTIONS[0])
    return Picture(parts, parts * prompts.per_frame, tokens)


def _noise(size_px: tuple[int, int], seed: int) -> Image:
    random = np.random.default_rng(seed)
    return random.integers(0, 255, (*size_px, 3), np.uint8)


def _timed(task: Task, look: Callable[[], Observation]) -> Times:
    """Medians of looks."""
    spent_ms: list[float] = []
    cpu_ms: list[float] = []
    seen: list[Observation] = []
    until_s = time.perf_counter() + task.seconds
    while not seen or (len(seen) < task.runs and time.perf_counter() < until_s):
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        seen.append(look())
        cpu_ms.append((time.process_time() - began_cpu_s) * 1e3)
        spent_ms.append((time.perf_counter() - began_s) * 1e3)
    return Times(
        whole_ms=statistics.median(spent_ms),
        cpu_ms=statistics.median(cpu_ms),
        encode_ms=statistics.median(one.timings.encode_ms for one in seen),
        prefill_ms=statistics.median(one.timings.prefill_ms for one in seen),
        looks=len(seen),
    )
