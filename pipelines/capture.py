"""How do a camera's frames arrive, and what happens when they do not?

Knows one source and one ring; nothing of windows or models, and no kind of camera.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace

import cv2
import numpy as np
from cv2.typing import MatLike

from pipelines.clock import Clock
from pipelines.errors import NoKeyframe, SourceError, Stalled
from pipelines.mask import Mask
from pipelines.motion import MotionMeter
from pipelines.packet_ring import JPEG_INTERVAL_S, PacketRing
from pipelines.ring import FrameRing
from pipelines.sources.base import FrameSource, Picture, SampleGrid
from pipelines.types import Frame, Image
from pipelines.vitals import STALL_S, CameraHealth, Vitals
from pipelines.zones import Zone

__all__ = ["CameraHealth", "CaptureWorker", "scale_to_edge"]

_SUSTAINED_S = 5.0  # pictures for so long, and the next failure starts with a short wait again
_NO_KEYFRAME_S = 5.0  # before a silence is called a stall
_KEYFRAME_S = 30.0  # "smart" codecs send a keyframe so rarely, and a new connection brings none
_BACKOFF_STEPS = 16.0  # the first wait is this part of its cap: 0.25 s of 4 s, 3.75 s of 60 s
_PTS_BACK_S = 0.5  # cameras nudge their time stamps; more than this is a clock that was set
_PTS_AHEAD_S = 3.0  # beyond the time that really passed
_DISABLED_S = 0.5  # between looks for whether a camera that is left alone is wanted again


class CaptureWorker:
    """Brings one camera's frames into its ring. `run` is the body of its one thread.

    Every failure is retried for ever. The wait doubles from a sixteenth of the cap that the
    failure's kind allows, and up to half of it is left off at random, so that cameras behind one
    dead switch do not all come back in the same instant.
    """

    def __init__(
        self,
        camera: str,
        source: FrameSource,
        ring: FrameRing,
        clock: Clock,
        *,
        sample_interval_s: float,
        frame_edge_px: int,
        recording: PacketRing | None = None,
        mask: Mask | None = None,
        zones: Mapping[Zone, FrameRing] | None = None,
        seed: int | None = None,
    ) -> None:
        self._camera = camera
        self._source = source
        self._ring = ring
        self._clock = clock
        self._sample_interval_s = sample_interval_s
        self._edge_px = frame_edge_px
        self._recording = recording
        self._mask = mask
        self._zones = zones or {}
        self._grid = SampleGrid()  # of what is read for the recording, which pictures are sampled
        self._random = random.Random(seed)  # noqa: S311 - spreads retries, guards nothing
        self._vitals = Vitals(camera, source.url, clock.monotonic_s())
        self._motion = MotionMeter()
        self._failures = 0  # in a row
        self._epoch = -1
        self._seq = -1
        self._opened_s = 0.0
        self._ended = False  # the last connection, cleanly: a file was over
        self._sound = False  # whether a sound picture came over this connection
        self._newest_s = 0.0  # of the newest sound picture of this connection
        self._newest_pts_s: float | None = None
        self._shape: tuple[int, ...] = ()
        self._enabled = True
        self.heartbeat_s = clock.monotonic_s()  # moves with every picture and every attempt

    def run(self, stop: threading.Event) -> None:
        """Read, and connect again after every `SourceError`, until `stop` or a file's end.

        Returns within a second of `stop` while pictures come. A read that waits for a silent
        camera ends by its library's time-out, up to 6 s later: nothing may close it from outside.
        So the thread must be a daemon thread, and may be left behind after a shorter wait.
        """
        cv2.setNumThreads(1)  # cameras run beside each other; a pool doubled the cost of `_motion`
        while not stop.is_set():
            self.heartbeat_s = self._clock.monotonic_s()
            if not self._enabled:
                self._leave_alone(stop)
                continue
            try:
                if self.run_once(stop):
                    return
            except SourceError as error:
                self._vitals.lost(error, self._clock.monotonic_s())
                self._clock.wait(stop, self._backoff_s(error))

    def run_once(self, stop: threading.Event) -> bool:
        """One connection, until `stop`, a file's end (then True), or the camera is disabled.

        Raises `SourceError`.
        """
        self._ended = False
        for _ in self.steps(stop):
            pass
        return self._ended

    def steps(self, stop: threading.Event) -> Iterator[Picture]:
        """`run_once`, giving way after each picture: what came, masked, and was admitted."""
        try:
            self._source.open()
            self._connected()
            while not stop.is_set():
                picture = self._source.read(self._read_interval_s(), stop)
                if not self._enabled:
                    return
                if picture is None:
                    break
                picture = self._masked(picture)
                self._admit(picture)
                yield picture
            if not stop.is_set():
                self._vitals.ended(self._clock.monotonic_s())
            self._ended = not stop.is_set()
        finally:
            self._source.close()

    def enable(self, *, enabled: bool) -> None:
        """Read the camera, or leave it alone: the picture being read then is the last one.

        From any thread. A disabled camera's connection is closed.
        """
        self._enabled = enabled

    @property
    def is_enabled(self) -> bool:
        """What `enable` was last told; `health` follows when the picture being read is there."""
        return self._enabled

    def _leave_alone(self, stop: threading.Event) -> None:
        self._vitals.disabled(self._clock.monotonic_s())
        while not (self._enabled or self._clock.wait(stop, _DISABLED_S)):
            self.heartbeat_s = self._clock.monotonic_s()
        self._failures = 0
        if self._enabled:
            self._vitals.enabled(self._clock.monotonic_s())

    @property
    def next_epoch(self) -> int:
        """The first that no frame has."""
        return self._epoch + 1

    def begin_with(self, epoch: int) -> None:
        """Number epochs from there, before `run`: an earlier worker of this camera had the others.

        Or else its frames' features, which are cached by `Frame.key`, would be taken for ours.
        """
        self._epoch = epoch - 1

    def health(self) -> CameraHealth:
        """How the camera is. May be asked from any thread."""
        return self._vitals.health(self._clock.monotonic_s())

    def _connected(self) -> None:
        self._epoch += 1
        self._opened_s = self._newest_s = self._clock.monotonic_s()
        self._newest_pts_s = None
        self._sound = False

    def _admit(self, picture: Picture) -> None:
        now_s = self._clock.monotonic_s()  # after the read: that is when the picture was here
        self.heartbeat_s = now_s
        if picture.damaged:
            self._vitals.damaged()
            self._bear_damage(now_s)
            return
        self._sound = True
        self._vitals.arrived(now_s, lag_s=picture.lag_s, skipped=picture.skipped)
        if now_s - self._opened_s >= _SUSTAINED_S:
            self._failures = 0
        if self._jumped(picture.pts_s, now_s):
            self._epoch += 1
        self._newest_s, self._newest_pts_s = now_s, picture.pts_s
        sampled = picture.image is not None and self._is_sampled(picture.pts_s, now_s)
        if self._recording is not None:
            self._recording.put(picture, picture.image, now_s)
            if sampled:
                self._recording.mark(now_s, picture.pts_s)
        if picture.image is not None and sampled:
            self._sample(picture.image, picture.camera_time, now_s)

    def _read_interval_s(self) -> float:
        """Pictures are read more often than sampled where clips are made of them."""
        if self._recording is not None and self._recording.wants_images:
            return min(self._sample_interval_s, JPEG_INTERVAL_S)
        return self._sample_interval_s

    def _is_sampled(self, pts_s: float | None, now_s: float) -> bool:
        if self._read_interval_s() == self._sample_interval_s:
            return True
        return self._grid.due(now_s if pts_s is None else pts_s, self._sample_interval_s)

    def _masked(self, picture: Picture) -> Picture:
        """What is masked goes before anybody sees it, and with it the packet that shows it."""
        if self._mask is None:
            return picture
        image = None if picture.image is None else self._mask.burn(picture.image)
        return replace(picture, image=image, coded=None)

    def _bear_damage(self, now_s: float) -> None:
        """A connection without a sound picture is given up, before its first one not so soon."""
        silent_s = now_s - self._newest_s
        if self._sound and silent_s > STALL_S:
            raise Stalled(
                f"{self._source.url}: only damaged pictures for {STALL_S:.0f} s. "
                "Is the network link too weak, or the camera's keyframe interval too long?"
            )
        if not self._sound and silent_s > _NO_KEYFRAME_S:
            error = NoKeyframe(
                f"{self._source.url}: pictures come, but no keyframe to begin with. Set the "
                "camera's keyframe (I-frame) interval to 1 or 2 s, and turn off its smart codec "
                "(H.264+, H.265+)."
            )
            if silent_s > _KEYFRAME_S:
                raise error
            self._vitals.troubled(error, now_s)

    def _sample(self, image: Image, camera_time: float | None, now_s: float) -> None:
        if self._shape and image.shape != self._shape:
            self._epoch += 1
        self._shape = image.shape
        self._seq += 1
        small = scale_to_edge(image, self._edge_px)
        frame = Frame(
            camera=self._camera,
            epoch=self._epoch,
            seq=self._seq,
            captured_s=now_s,
            wall_time=self._clock.wall_time(),
            image=small,
            motion=self._motion.score(small),
            camera_time=camera_time,
        )
        # Zones first: whoever finds the frame finds its zones.
        for zone, ring in self._zones.items():
            close = scale_to_edge(zone.crop(image), self._edge_px)
            ring.put(replace(frame, image=close, view=zone.name))
        self._ring.put(frame)
        self._vitals.sampled(frame, image.shape[1], image.shape[0])

    def _jumped(self, pts_s: float | None, now_s: float) -> bool:
        """Whether the camera's clock was set, so that what came before is not what came just now.

        RTP counts ninety-thousandths in 32 bits, so 1000 s back arrive as 46,721 s ahead.
        """
        if pts_s is None or self._newest_pts_s is None:
            return False
        ahead_s = pts_s - self._newest_pts_s
        passed_s = now_s - self._newest_s
        return ahead_s < -_PTS_BACK_S or ahead_s > passed_s + _PTS_AHEAD_S

    def _backoff_s(self, error: SourceError) -> float:
        cap_s = error.backoff_cap_s
        wait_s = min(cap_s, cap_s / _BACKOFF_STEPS * 2.0**self._failures)
        # Not counted beyond the cap: a camera that is away for a week overflows no float.
        self._failures += wait_s < cap_s
        return wait_s * self._random.uniform(0.5, 1.0)


def scale_to_edge(image: Image, edge_px: int) -> Image:
    """`image` ([H, W, 3] uint8 RGB) with its longer edge at `edge_px` and its shape kept.

    Halved first as often as it goes: OpenCV's area filter takes 8.6 ms from 1080p to 512 px on one
    core (AVX2), and 4.5 ms by way of 960 px; 32 and 8 ms from 4K. The pictures differ by less than
    one level of 255 in the mean.
    """
    height_px, width_px = image.shape[:2]
    scale = edge_px / max(height_px, width_px)
    if scale == 1.0:
        return image
    size = (max(1, round(width_px * scale)), max(1, round(height_px * scale)))
    half: MatLike = image
    while min(half.shape[:2]) % 2 == 0 and max(half.shape[:2]) >= 2 * edge_px:
        half = cv2.resize(half, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    shrink = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(half, size, interpolation=shrink), dtype=np.uint8)
