"""Which frames look so much like one before that its features will do?

Knows pictures and names of frames; no features and no model. The one approximation there is, so it
is used only where it is asked for (`model.reuse_unchanged`).

A frame is held against the frame whose features it would take, not against its neighbour: what
changes slowly adds up until it counts, and drift cannot creep through. What counts is the largest
change anywhere, after shrinking and blurring (`pipelines.motion` says why those sizes): somebody
far away changes a few pixels, and a mean over the picture, or over fixed cells, hides them. Light
that changes everywhere is a change, too, other than for the motion gate: the model sees it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np

from pipelines.types import Frame, FrameKey, Image

LONGEST_S: Final = 30.0  # whatever a picture looks like: after so long it is encoded anew
_EDGE_PX: Final = 96
_BLUR_PX: Final = 5
_REMEMBERED: Final = 256  # frames of one view whose choice is kept: four of the longest windows
_VIEWS: Final = 512  # 15 KB each; a backtest has a view for each recording


@dataclass(slots=True)
class _Shown:
    """The frame that newer ones are held against."""

    key: FrameKey
    captured_s: float
    small: Image


@dataclass(slots=True)
class _View:
    """One camera's whole picture, or one zone of it."""

    shown: _Shown | None = None
    chosen: OrderedDict[FrameKey, FrameKey] = field(default_factory=OrderedDict)


class StandIns:
    """Chooses, once for each frame, whose features it takes. For one thread.

    A choice stands for as long as there are features to take, so that windows which share frames
    share features, and prompts that are kept for them stay exact.
    """

    def __init__(self, below: float, longest_s: float = LONGEST_S) -> None:
        """`below`: levels of 255, see `change`. Features are taken for `longest_s` at the most."""
        self.count = 0  # frames that took another's features so far
        self._below = below
        self._longest_s = longest_s
        self._views: OrderedDict[tuple[str, str], _View] = OrderedDict()

    def key_for(self, frame: Frame, is_held: Callable[[FrameKey], bool]) -> FrameKey:
        """The frame whose features stand for `frame`: itself, if no other will do.

        `is_held` says whether a frame's features are there, or will be before these are needed.
        """
        view = self._view((frame.camera, frame.view))
        chosen = view.chosen.get(frame.key)
        if chosen is None:
            chosen = self._choose(view, frame, is_held)
        elif not is_held(chosen):
            chosen = frame.key
        view.chosen[frame.key] = chosen
        if len(view.chosen) > _REMEMBERED:
            view.chosen.popitem(last=False)
        return chosen

    def _view(self, name: tuple[str, str]) -> _View:
        view = self._views.setdefault(name, _View())
        self._views.move_to_end(name)
        if len(self._views) > _VIEWS:
            self._views.popitem(last=False)
        return view

    def _choose(self, view: _View, frame: Frame, is_held: Callable[[FrameKey], bool]) -> FrameKey:
        small, shown = small_picture(frame.image), view.shown
        if shown is not None and not is_held(frame.key) and is_held(shown.key):
            age_s = frame.captured_s - shown.captured_s
            same_epoch = frame.epoch == shown.key[1]
            if same_epoch and 0.0 <= age_s < self._longest_s and self._is_like(small, shown.small):
                self.count += 1
                return shown.key
        if shown is None or frame.captured_s >= shown.captured_s:
            view.shown = _Shown(frame.key, frame.captured_s, small)
        return frame.key

    def _is_like(self, one: Image, other: Image) -> bool:
        return one.shape == other.shape and change(one, other) < self._below


def small_picture(image: Image) -> Image:
    """`image` ([H, W, 3] uint8 RGB) shrunk and blurred: noise and the codec's blocks are gone."""
    height_px, width_px = image.shape[:2]
    scale = min(1.0, _EDGE_PX / max(height_px, width_px))
    size = (max(1, round(width_px * scale)), max(1, round(height_px * scale)))
    # OpenCV's area filter is fast where it halves: the 512 px frames of SmolVLM2 take a third.
    while min(image.shape[:2]) % 2 == 0 and max(image.shape[:2]) >= 2 * _EDGE_PX:
        image = np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(small, (_BLUR_PX, _BLUR_PX), 0), dtype=np.uint8)


def change(one: Image, other: Image) -> int:
    """The largest difference between two small pictures, in levels of 255 of any colour."""
    return int(cv2.absdiff(one, other).max())
