"""How does an event become a clip?

Knows no model: 8 s at 10 frames a second that hold the whole event, and their truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from pipelines.scenes.acts import Act, EventName
from pipelines.scenes.clips import draw_event, encode_h264
from pipelines.scenes.draw import Painter
from pipelines.scenes.truth import WindowTruth
from pipelines.types import Image

CLIP_S: Final = 8.0
FPS: Final = 10
CRF: Final = 24  # about 250 kbit/s: what a camera's substream looks like


@dataclass(frozen=True, slots=True)
class EventClip:
    """One event, ready to be drawn."""

    act: Act
    lead_s: float  # still time before the event

    @property
    def num_frames(self) -> int:
        """Frames of the clip."""
        return int(CLIP_S * FPS)

    def images(self, width_px: int = 640) -> list[Image]:
        """All frames, uint8 RGB `[H, W, 3]`, 16:9."""
        painter = Painter(self.act.stage, width_px, width_px * 9 // 16)
        times = np.arange(self.num_frames) / FPS
        return [painter.paint(self.act.state_at(t - self.lead_s), t) for t in times]

    def truth(self, num_frames: int = 8) -> WindowTruth:
        """The truth of `num_frames` evenly spaced frames."""
        chosen = evenly_spaced(self.num_frames, num_frames)
        states = [self.act.state_at(i / FPS - self.lead_s) for i in chosen]
        return WindowTruth.of(states, night=self.act.stage.night)


def event_clip(event: EventName, seed: int) -> EventClip:
    """The clip of an event, fixed by `seed`. The event begins and ends within it."""
    rng = np.random.default_rng([seed, 3])
    act = draw_event(rng, event)
    latest = max(0.25, min(1.2, CLIP_S - 1.5 / FPS - act.duration_s))
    return EventClip(act, float(rng.uniform(0.2, latest)))


def evenly_spaced(available: int, wanted: int) -> list[int]:
    """Indices of `wanted` frames out of `available`, first and last included."""
    count = min(available, wanted)
    return [int(i) for i in np.linspace(0, available - 1, count).round()]


def write_event(event: EventName, seed: int, out: Path, width_px: int = 640) -> EventClip:
    """Write the clip as H.264 in MP4 and return what it shows. Raises `OSError`."""
    clip = event_clip(event, seed)
    encode_h264(clip.images(width_px), FPS, CRF, str(out))
    return clip
