"""Where do frames wait until a window takes them?

Knows frames and their order; nothing of windows, cameras or models.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.types import Frame, Image

_STOP_POLL_S = 0.1  # a condition cannot wait for an event too, so it looks at it this often


@dataclass(frozen=True, slots=True)
class Stamp:
    """All of a frame but its pixels: what a scheduler decides by."""

    epoch: int
    seq: int
    captured_s: float
    motion: float


class FrameRing:
    """The newest frames of one camera, `capacity` at most; the oldest goes first. Thread-safe.

    Pixels live in one block `[capacity, H, W, 3]`, allocated with the first frame and again when
    the resolution changes; then the frames before are gone.

    A frame that is handed out owns its pixels: they are copied under the lock. A view into a slot
    would be overwritten as soon as the camera has gone once around the ring, in the middle of a
    slow model's pass; leasing slots would make capture wait, or grow, for a slow model. The copy
    costs 0.03 ms for a frame of 512x288 (measured on x86-64); encoding it costs tens of them.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"a ring holds at least one frame, not {capacity}")
        self._capacity = capacity
        self._slots: Image = np.empty((capacity, 0, 0, 3), np.uint8)
        self._kept: deque[tuple[Frame, int]] = deque()  # frame, whose image is a view of its slot
        self._free = list(range(capacity))
        self._taken_seq = -1  # the newest seq ever handed out
        self._dropped = 0
        self._changed = threading.Condition()

    @property
    def capacity(self) -> int:
        """How many frames the ring holds."""
        return self._capacity

    @property
    def dropped(self) -> int:
        """How many frames went without ever having been handed out."""
        with self._changed:
            return self._dropped

    def put(self, frame: Frame) -> None:
        """Copy `frame` in, and drop the oldest if the ring is full. Its `seq` must be new."""
        with self._changed:
            if self._kept and frame.seq <= self._kept[-1][0].seq:
                raise ValueError(f"frame {frame.seq} after frame {self._kept[-1][0].seq}")
            if frame.image.shape != self._slots.shape[1:]:
                while self._kept:
                    self._drop_oldest()
                self._slots = np.empty((self._capacity, *frame.image.shape), np.uint8)
            if not self._free:
                self._drop_oldest()
            slot = self._free.pop()
            view = self._slots[slot]
            view[...] = frame.image
            self._kept.append((replace(frame, image=view), slot))
            self._changed.notify_all()

    def stamps(self) -> tuple[Stamp, ...]:
        """What the ring holds, oldest first, without the pixels."""
        with self._changed:
            return tuple(
                Stamp(frame.epoch, frame.seq, frame.captured_s, frame.motion)
                for frame, _ in self._kept
            )

    def take(self, seqs: Sequence[int]) -> tuple[Frame, ...] | None:
        """The frames of these `seqs`, in that order; None if one of them is gone."""
        with self._changed:
            kept = {frame.seq: frame for frame, _ in self._kept}
            if not all(seq in kept for seq in seqs):
                return None
            return tuple(self._hand_out(kept[seq]) for seq in seqs)

    def newest(self) -> Frame | None:
        """The frame put last."""
        with self._changed:
            return self._hand_out(self._kept[-1][0]) if self._kept else None

    def frames_since(self, seq: int) -> tuple[Frame, ...]:
        """All frames that are newer than `seq`, oldest first."""
        with self._changed:
            return tuple(self._hand_out(frame) for frame, _ in self._kept if frame.seq > seq)

    def wait_newer(self, than_seq: int, stop: threading.Event, timeout_s: float) -> bool:
        """Wait for a frame newer than `than_seq`; False at the time-out or if `stop` was set."""
        # Real time, not the injected clock: a condition can be woken by nothing else.
        end_s = time.monotonic() + timeout_s
        with self._changed:
            while not (self._kept and self._kept[-1][0].seq > than_seq):
                left_s = end_s - time.monotonic()
                if left_s <= 0 or stop.is_set():
                    return False
                self._changed.wait(min(left_s, _STOP_POLL_S))
            return True

    def _drop_oldest(self) -> None:
        frame, slot = self._kept.popleft()
        self._free.append(slot)
        self._dropped += frame.seq > self._taken_seq

    def _hand_out(self, frame: Frame) -> Frame:
        self._taken_seq = max(self._taken_seq, frame.seq)
        image = frame.image.copy()
        image.setflags(write=False)
        return replace(frame, image=image)
