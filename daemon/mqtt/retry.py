"""How long is waited between two attempts to reach the broker?

Knows no connection and no clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from daemon.mqtt.reasons import Problem


@dataclass(frozen=True, slots=True)
class Retry:
    """How long to wait between attempts: doubled each time, from `first_s` to `cap_s`."""

    first_s: float = 0.5
    cap_s: float = 15.0
    slow_cap_s: float = 60.0  # for a wrong password, which asking more often does not mend

    def delay_s(self, failures: int, problem: Problem) -> float:
        """Seconds to wait after so many failures in a row."""
        cap_s = self.slow_cap_s if problem.needs_a_person else self.cap_s
        return min(cap_s, self.first_s * 2.0 ** min(failures - 1, 16))
