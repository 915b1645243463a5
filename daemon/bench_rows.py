"""What is measured of a model, and how many cameras follow from it?

Knows no model and no clock: scenarios, rows and arithmetic on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

NUM_FRAMES = 8
INTERVAL_S = 1.0  # between frames, the configuration's default
WORDS = 32  # tokens of a description


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is asked of each window."""

    name: str
    questions: int
    new_tokens: int = 0  # the most of a description; 0: none
    new_frames: int = 1  # of the window's eight
    cameras: int = 1  # whose windows are due together
    anchored: bool = False  # windows keep their start, and grow to twice their frames
    still: bool = False  # nothing changes from frame to frame: the words are the last ones

    @property
    def baseline(self) -> int:
        """New tokens of the naive call that it is held against: one at the least."""
        return max(1, self.new_tokens)


MAIN = Scenario("4 questions", 4)  # the last line of every run


def scenarios(cameras: int) -> list[Scenario]:
    """Those of one run, `MAIN` last; 2, 4, 8... cameras up to `cameras`."""
    several = []
    count = 2
    while count < cameras:
        several.append(count)
        count *= 2
    if cameras > 1:
        several.append(cameras)
    return [
        Scenario("1 question", 1),
        Scenario("8 questions", 8),
        Scenario("all frames new", 4, new_frames=NUM_FRAMES),
        Scenario("anchored window", 4, anchored=True),
        Scenario(f"description of {WORDS} tokens", 0, WORDS),
        Scenario("the same of a still scene", 0, WORDS, still=True),
        *(Scenario(f"{count} cameras", 4, cameras=count) for count in several),
        MAIN,
    ]


@dataclass(frozen=True, slots=True)
class Measured:
    """One scenario's figures, of all windows that were timed."""

    scenario: Scenario
    # Median; of anchored windows, the mean from start to start. With several cameras, of a round,
    # divided by them.
    window_ms: float
    encode_ms: float
    prefill_ms: float
    decode_ms: float
    windows: int  # how many were timed
    peak_rss_mb: int  # of the process until then


@dataclass(frozen=True, slots=True)
class Setting:
    """What ran."""

    model: str
    engine: str
    precision: str
    device: str
    threads: int


@dataclass(frozen=True, slots=True)
class Naive:
    """The baseline's figures: milliseconds a call, by the number of new tokens."""

    call_ms: dict[int, float]
    peak_rss_mb: int


def row(setting: Setting, measured: Measured, naive: Naive | None) -> dict[str, Any]:
    """One line of `--json`."""
    scenario = measured.scenario
    line: dict[str, Any] = {
        "scenario": scenario.name, **asdict(setting), "cameras": scenario.cameras,
        "frames": NUM_FRAMES, "new_frames": scenario.new_frames,
        "questions": scenario.questions, "new_tokens": scenario.new_tokens,
        "window_ms": round(measured.window_ms, 2), "encode_ms": round(measured.encode_ms, 2),
        "prefill_ms": round(measured.prefill_ms, 2), "decode_ms": round(measured.decode_ms, 2),
        "windows_per_s": round(1e3 / measured.window_ms, 2), "windows": measured.windows,
        "naive_ms": None, "ratio": None,
        "peak_rss_mb": measured.peak_rss_mb, "naive_peak_rss_mb": None,
    }  # fmt: skip
    if naive is not None:
        call_ms = naive.call_ms[scenario.baseline]
        line["naive_ms"] = round(call_ms, 2)
        line["ratio"] = round(call_ms / measured.window_ms, 2)
        line["naive_peak_rss_mb"] = naive.peak_rss_mb
    return line


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many cameras one machine serves, with a given share of seconds that nobody sees."""

    stride_s: float
    on_stride: int  # every window on its stride
    blind_0: int  # windows may come later, but every second is in one of them
    blind_5: int  # 5% of the seconds are in none


def capacity(rows: Sequence[Measured], stride_s: float) -> Capacity:
    """Reckon from 4 questions on 1 and on 8 new frames; a frame's cost lies between the two.

    A machine that looks at N cameras in turn needs N windows' time for a round. The longer the
    round, the more frames are new, and beyond a window's span there are seconds in no window. A
    stride beyond that leaves such seconds with any number of cameras: 0 then.
    """
    alike = [m for m in rows if m.scenario.questions == MAIN.questions and not m.scenario.anchored]
    one_s = min(m.window_ms for m in alike if m.scenario.new_frames == 1) / 1e3
    all_s = min(m.window_ms for m in alike if m.scenario.new_frames == NUM_FRAMES) / 1e3
    frame_s = max(0.0, (all_s - one_s) / (NUM_FRAMES - 1))
    span_s = (NUM_FRAMES - 1) * INTERVAL_S

    def in_a_round(round_s: float) -> int:
        new = min(NUM_FRAMES, max(1.0, round_s / INTERVAL_S))
        return int(round_s / (one_s + (new - 1) * frame_s) + 1e-6)  # 10 are not 9.999

    def with_blind(share: float) -> int:
        longest_s = span_s / (1.0 - share)
        return in_a_round(longest_s) if stride_s <= longest_s else 0

    return Capacity(stride_s, in_a_round(stride_s), with_blind(0.0), with_blind(0.05))


@dataclass(frozen=True, slots=True)
class Roofline:
    """How near the machine's limit the model's matrix products come."""

    product_gflops: dict[str, float]  # measured, by number format
    encode_gflops: float  # achieved, of a frame
    prefill_gflops: float  # of the prompt and the questions

    def line(self, precision: str) -> dict[str, Any]:
        """One line of `--json`. A share is given for a format whose product could be measured."""
        limit = self.product_gflops.get(precision)
        return {
            "roofline": {
                "product_gflops": {k: round(v, 1) for k, v in self.product_gflops.items()},
                "encode_gflops": round(self.encode_gflops, 1),
                "prefill_gflops": round(self.prefill_gflops, 1),
                "encode_share": _share(self.encode_gflops, limit),
                "prefill_share": _share(self.prefill_gflops, limit),
            }
        }


def _share(achieved: float, limit: float | None) -> float | None:
    """None also where the products were slower than the model: other work was running then."""
    return round(achieved / limit, 3) if limit and achieved <= limit else None
