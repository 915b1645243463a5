"""Is a hot machine looked at less often, and is it said where people look?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from daemon.store import Limits as StoreLimits
from daemon.store import Store
from daemon.telling import why_lines
from daemon.throttling import Throttling, temperature_c
from pipelines.ring import FrameRing
from pipelines.throttle import LENGTHEN_S, SHORTEN_S, Limits
from pipelines.types import Frame
from pipelines.windows import WindowPlan, WindowScheduler
from tests.fakes import FakeClock

PIXEL = np.zeros((1, 1, 3), np.uint8)


class Machine:
    """A scheduler of one camera with a frame a second, on a machine whose figures are set."""

    def __init__(self, limits: Limits, store: Store | None = None) -> None:
        self.clock = FakeClock()
        self.heat_c: float | None = 60.0
        self.share = 0.0
        self.spent_s = 0.0
        self.plan = WindowPlan(num_frames=2, stride_s=2.0)
        self.ring = FrameRing(self.plan.ring_capacity)
        now_s = self.clock.monotonic_s()
        self.scheduler = WindowScheduler({"porch": (self.plan, self.ring)}, now_s)
        self.throttling = Throttling(
            limits, self.scheduler, {"porch": 2.0}, self.clock, store,
            thermometer=lambda: self.heat_c, cpu_s=lambda: self.spent_s, cores=2,
        )  # fmt: skip

    def windows(self, seconds: int) -> list[float]:
        """When windows ended, of so many seconds to come."""
        ends = []
        for _ in range(seconds):
            self.clock.advance(1.0)
            self.spent_s += 2 * self.share
            now_s = self.clock.monotonic_s()
            self.ring.put(Frame("porch", 0, int(now_s), now_s, 0.0, PIXEL, 0.0))
            self.throttling.tick()
            window = self.scheduler.next_window(now_s)
            if window is not None:
                self.scheduler.ran(window)
                ends.append(window.end_s)
        return ends


def test_a_hot_machine_is_looked_at_less_often_and_skips_nothing():
    machine = Machine(Limits(max_temperature_c=80.0))
    assert set(np.diff(machine.windows(20))) == {2.0}
    machine.heat_c = 82.0
    assert machine.windows(int(LENGTHEN_S) - 1)
    machine.heat_c = 78.0
    assert machine.throttling.note("porch") == "stride lengthened to 4 s: 82 C (limit 80)"
    assert machine.throttling.summary == "all strides are 2 times as long: 82 C (limit 80)"
    assert set(np.diff(machine.windows(40))) == {4.0}
    machine.heat_c = 70.0
    machine.windows(int(SHORTEN_S) + 4)
    assert set(np.diff(machine.windows(20))) == {2.0}
    assert machine.throttling.note("porch") is None
    now_s = machine.clock.monotonic_s()
    assert machine.scheduler.counts("porch", now_s).skipped == 0


def test_the_share_of_cpu_is_taken_over_seconds_and_over_all_cores():
    machine = Machine(Limits(cpu_share=0.5))
    machine.share = 0.45
    machine.windows(30)
    assert machine.throttling.note("porch") is None
    machine.share = 0.9
    machine.windows(12)
    note = machine.throttling.note("porch")
    assert note is not None
    assert "of the CPU (limit 50%)" in note


def test_why_tells_it(tmp_path: Path):
    store = Store(tmp_path / "s.db", StoreLimits(), FakeClock())
    machine = Machine(Limits(max_temperature_c=80.0), store)
    machine.heat_c = 82.0
    machine.windows(12)
    machine.throttling.end()
    now = machine.clock.wall_time()
    [span] = store.read(lambda c: c.execute("SELECT camera, cause, detail, started, ended"
                                            " FROM spans").fetchall())  # fmt: skip
    assert tuple(span)[:3] == ("porch", "throttled", "stride lengthened to 4 s: 82 C (limit 80)")
    told = {
        "camera": "porch", "at": now, "windows": [], "incidents": [], "before": None, "after": None,
        "spans": [{"cause": span[1], "detail": span[2], "started": span[3], "ended": span[4],
                   "windows": 0}],
    }  # fmt: skip
    [line] = [line for line in why_lines(told, None) if "throttled" in line]
    assert line.startswith("windows came less often from")
    assert line.endswith("throttled: stride lengthened to 4 s: 82 C (limit 80)")


@pytest.mark.parametrize(("content", "found"), [("51500\n", 51.5), ("0\n", None), ("x", None)])
def test_the_hottest_sensor_that_makes_sense_counts(tmp_path: Path, content: str, found):
    for number, text in enumerate([content, "-40000\n"]):
        zone = tmp_path / f"thermal_zone{number}"
        zone.mkdir()
        (zone / "temp").write_text(text)
    assert temperature_c(tmp_path) == found


def test_a_machine_without_sensors_tells_nothing(tmp_path: Path):
    assert temperature_c(tmp_path) is None
