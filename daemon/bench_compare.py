"""How do models differ over the same eight frames: SmolVLM beside SmolVLM2, or two sizes?

Knows processes, one a model and one after the other, and what each says; no model and no terminal.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from daemon.bench_model import Wanted, check_model, checkpoint_of, run_child
from daemon.bench_rows import NUM_FRAMES


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that is looked at by itself."""

    parts: int  # tiles, and the whole; 1: it is not cut
    image_tokens: int
    prompt_tokens: int  # with one question


@dataclass(frozen=True, slots=True)
class Times:
    """Medians of some looks, one question each, in milliseconds."""

    whole_ms: float
    cpu_ms: float  # of all threads: the figure to go by where other work takes the processor
    encode_ms: float
    prefill_ms: float
    looks: int


@dataclass(frozen=True, slots=True)
class Compared:
    """One model, as `daemon.bench_compare_child` found it."""

    architecture: str  # transformers' class
    of_time: bool  # whether it was tuned on frames with their times
    knows_language: bool  # else the sentences of its training only
    frame_tokens: int
    window_prompt_tokens: int  # eight frames and one question
    max_tokens: int  # its context
    picture: Picture  # 1920x1080
    largest: Picture  # a square, which is cut into the most
    window: Times  # eight frames, all of them new
    sliding: Times  # eight frames, one of them new
    single: Times  # `picture`
    engine: str
    precision: str
    device: str
    threads: int
    load_s: float
    peak_rss_mb: int

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> Compared:
        """From what the process says."""
        nested: dict[str, type[Picture | Times]] = {
            "picture": Picture, "largest": Picture,
            "window": Times, "sliding": Times, "single": Times,
        }  # fmt: skip
        return cls(**{**line, **{key: kind(**line[key]) for key, kind in nested.items()}})

    @property
    def window_tokens(self) -> int:
        """Image tokens of eight frames, each of them a picture that is not cut."""
        return NUM_FRAMES * self.frame_tokens

    @property
    def tiled_tokens(self) -> int:
        """What they would be, were each frame cut as a single picture is."""
        return NUM_FRAMES * self.picture.image_tokens

    @property
    def reads_frames_as(self) -> str:
        """How eight frames stand in its prompt."""
        if self.of_time:
            return "a video: number and length in words, each frame behind its MM:SS"
        return "eight pictures in a row, no times"

    @property
    def made_for(self) -> str:
        """What it was tuned for, by its authors' model cards."""
        if not self.knows_language:
            return "the scenes of its training alone"
        if self.of_time:
            return "what happens over time: video, several pictures"
        return "what is in a picture: text and small things; no time"


def bench_compare(
    models: Iterable[str], wanted: Wanted
) -> Generator[tuple[str, Compared], None, None]:
    """Each model's figures when they are known, under its name.

    `wanted.model` is not looked at. Raises `BenchError` and `ModelError`; Ctrl+C ends the processes
    too.
    """
    each = [replace(wanted, model=name) for name in models]
    for one in each:
        check_model(one)
    for one in each:
        with contextlib.ExitStack() as stack:
            directory = checkpoint_of(one, stack)
            for line in run_child(one, "compared", directory, []):
                yield one.model, Compared.read(line)


def as_line(name: str, wanted: Wanted, found: Compared) -> dict[str, Any]:
    """One line of `--json`."""
    figures = asdict(found)
    for key in ("window", "sliding", "single"):
        figures[key] = {k: round(v, 1) for k, v in figures[key].items()}
    return {
        "model": name, "random_weights": wanted.random_weights, **figures,
        "load_s": round(found.load_s, 2), "frames": NUM_FRAMES,
        "window_image_tokens": found.window_tokens, "tiled_image_tokens": found.tiled_tokens,
        "reads_frames_as": found.reads_frames_as, "made_for": found.made_for,
    }  # fmt: skip


def rows(found: Iterable[Compared]) -> list[tuple[str, list[str]]]:
    """The table for people: what is compared, and each model's figure."""
    seen = list(found)

    def row(what: str, values: Iterable[object]) -> tuple[str, list[str]]:
        return what, [str(value) for value in values]

    return [
        row("architecture in transformers", (one.architecture for one in seen)),
        row("made for", (one.made_for for one in seen)),
        row("eight frames are read as", (one.reads_frames_as for one in seen)),
        row("image tokens of eight frames", (f"{one.window_tokens:,}" for one in seen)),
        row("  the prompt with a question", (f"{one.window_prompt_tokens:,}" for one in seen)),
        row("  were frames cut into tiles", (_tiled(one) for one in seen)),
        row("image tokens of a 16:9 picture", (_parts(one.picture) for one in seen)),
        row("  of a square one", (_parts(one.largest) for one in seen)),
        row("eight new frames, a question", (_times(one.window) for one in seen)),
        row("one new frame of eight", (_times(one.sliding) for one in seen)),
        row("a 16:9 picture, a question", (_times(one.single, "cutting") for one in seen)),
        row("peak memory", (f"{one.peak_rss_mb} MB" for one in seen)),
    ]


def _tiled(one: Compared) -> str:
    if one.picture.parts == 1:
        return "it knows no tiles"
    return f"{one.tiled_tokens:,} of its {one.max_tokens:,}"


def _parts(picture: Picture) -> str:
    if picture.parts == 1:
        return f"{picture.image_tokens:,} (one frame)"
    return f"{picture.image_tokens:,} ({picture.parts - 1} tiles and the whole)"


def _times(times: Times, rest: str = "") -> str:
    """`rest`: what the time beside the engine's goes to, where it is worth a word."""
    encode, prompt = times.encode_ms, times.prefill_ms
    before = f"{rest} {times.whole_ms - encode - prompt:,.0f}, " if rest else ""
    parts = f"{before}frames {encode:,.0f}, prompt {prompt:,.0f}"
    return f"{times.whole_ms:,.0f} ms ({parts}; CPU time {times.cpu_ms:,.0f})"
