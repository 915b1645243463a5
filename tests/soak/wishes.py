"""What does the soaked daemon's configuration say, and how does it change?

Knows the words of the configuration; writes no file.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

RULES: Final = {
    "car_arrived": "Did a car arrive?",
    "car_left": "Did a car leave?",
    "package_delivered": "Was a package delivered?",
    "package_taken": "Was a package taken?",
    "dog": "Did a dog walk past?",
}
MISTAKES: Final = (
    "cameras: {gate: {sauce: scene://porch}}\n",
    "cameras:\n  gate: {source: 'rtsp://nobody:{NO_SUCH_SECRET}@127.0.0.1/'}\n",
    "cameras: [\n",
    "",
)


@dataclass(frozen=True, slots=True)
class Wishes:
    """A configuration; what a reload changes stands in its fields."""

    broker_port: int
    folder: Path  # of the store and the media: the disk that gets full
    log: Path  # of the event log: on another disk, as a witness
    cameras: Mapping[str, str]
    open_above: float = 0.7
    every_s: int = 20
    with_extra: bool = False  # a camera more
    without: str = ""  # a rule less

    def changed(self, rng: random.Random) -> Wishes:
        """Something else."""
        return rng.choice(
            (
                replace(self, open_above=0.6 if self.open_above == 0.7 else 0.7),
                replace(self, every_s=30 if self.every_s == 20 else 20),
                replace(self, with_extra=not self.with_extra),
                replace(self, without="" if self.without else rng.choice(sorted(RULES))),
            )
        )

    def text(self) -> str:
        """The YAML."""
        cameras = dict(self.cameras)
        if self.with_extra:
            cameras["extra"] = "scene://street?seed=11&fps=2&width=320"
        lines = [
            "model: {threads: 1}",
            f"mqtt: {{broker: '127.0.0.1:{self.broker_port}'}}",
            f"store: {{path: {self.folder}/smolwatch.db}}",
            f"media: {{dir: {self.folder}/media, max_bytes: 20000000}}",
            f"control: {{path: {self.log.parent}/control.sock}}",
            f"log: {{events: {self.log}}}",
            "http: {listen: 127.0.0.1:0}",
            "cameras:",
        ]
        for name, source in cameras.items():
            lines += [
                f"  {name}:",
                f"    source: '{source}'",
                "    window: {num_frames: 8, interval_s: 1, stride_s: 2}",
                f"    describe: {{every_s: {self.every_s}}}",
            ]
        lines.append("rules:")
        for name, ask in RULES.items():
            if name != self.without:
                lines += [
                    f"  {name}:",
                    f"    ask: {ask}",
                    f"    open_above: {self.open_above}",
                    "    cooldown_s: 1",
                    "    debounce: {needed: 1, of: 1}",
                    "    snapshot: true",
                    "    clip: {before_s: 2, after_s: 2}",
                ]
        return "\n".join(lines) + "\n"
