"""How many tokens has what the model reads?

Knows a checkpoint's config.json and tokenizer; no weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from daemon.bench_rows import INTERVAL_S, NUM_FRAMES
from pipelines.smolvlm2.checkpoint import knows_time
from pipelines.smolvlm2.files import read_json
from pipelines.smolvlm2.prompt import (
    picture_suffix,
    pictures_prefix,
    question_suffix,
    video_prefix,
)
from pipelines.smolvlm2.tokens import Tokens
from pipelines.smolvlm2.wording import Grid


class Prompts:
    """Counts tokens of the benchmark's windows, and of pictures, as one model is asked."""

    def __init__(self, directory: Path) -> None:
        """Raises `ModelError` for a directory that holds no model."""
        self.config: dict[str, Any] = read_json(directory / "config.json")
        self.of_time = knows_time(directory)
        vision = self.config["vision_config"]
        side = vision["image_size"] // vision["patch_size"] // self.config["scale_factor"]
        self.per_frame: int = side**2
        self._tokens = Tokens.from_file(directory / "tokenizer.json")

    def window(self, questions: Sequence[str]) -> int:
        """Of a window of eight frames and all questions about it."""
        if self.of_time:
            times_s = [number * INTERVAL_S for number in range(NUM_FRAMES)]
            prefix = video_prefix(times_s, times_s[-1], self.per_frame)
            return self._count(prefix, *map(question_suffix, questions))
        return self._pictures([(0, 0)] * NUM_FRAMES, questions)

    def picture(self, grid: Grid, question: str) -> int:
        """Of one picture that is cut into rows and columns, and a question about it."""
        return self._pictures([grid], [question])

    def _pictures(self, grids: Sequence[Grid], questions: Sequence[str]) -> int:
        prefix = pictures_prefix(grids, self.per_frame)
        return self._count(prefix, *map(picture_suffix, questions))

    def _count(self, *texts: str) -> int:
        return sum(len(self._tokens.encode(text)) for text in texts)
