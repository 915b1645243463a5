"""How do several clips become one film with captions?

Knows MP4 and no event. Clips of the same camera settings are joined as they are; where they differ,
or a browser would not play them (H.265), all are encoded again, at the size of the first. Captions
are a subtitle track (mov_text, 3GPP TS 26.245), and each clip is a chapter.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import av.error
import cv2
import numpy as np
from av.container import OutputContainer
from av.subtitles.stream import SubtitleStream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipelines.errors import SmolwatchError
from pipelines.types import Image

GAP_S: Final = 0.5  # between two clips: the last picture stands still

_TICKS: Final = 90_000  # a second
_TIME_BASE: Final = Fraction(1, _TICKS)
_FASTSTART: Final = {"movflags": "+faststart"}  # the index first, so that a browser need not seek
_ENCODER: Final = {"preset": "veryfast", "crf": "23"}
_LONGEST_CAPTION: Final = 500  # characters
# What FFmpeg's encoder of mov_text makes its track's default style of: white, at the bottom.
_STYLE: Final = b"""[Script Info]
ScriptType: v4.00+
PlayResX: 384
PlayResY: 288

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, \
Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, \
Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Sans,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


class FilmError(SmolwatchError):
    """The clips cannot be joined; the message names the one."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip as it lies on the disk."""

    path: Path
    duration_s: float
    format: tuple[object, ...]  # clips of equal ones can be joined as they are


@dataclass(frozen=True, slots=True)
class Scene:
    """A clip in the film, with what is written under it."""

    clip: Clip
    title: str  # of the chapter
    caption: str


def read_clip(path: Path) -> Clip:
    """Look at a clip. Raises `FilmError` and `OSError`."""
    with path.open("rb"):  # its errors say more than FFmpeg's
        pass
    try:
        with av.open(f"file:{path}") as container:
            if not container.streams.video or not container.duration:
                raise FilmError(f"{path.name} holds no video")
            stream = container.streams.video[0]
            codec = stream.codec_context
            made = (codec.name, codec.width, codec.height, codec.pix_fmt, codec.extradata)
            return Clip(path, container.duration / av.time_base, made)
    except av.error.FFmpegError as error:
        raise FilmError(f"{path.name} cannot be read ({error.strerror})") from error


def write_film(
    scenes: Sequence[Scene], out: Path, progress: Callable[[Scene], None] = lambda _: None
) -> bool:
    """Write an MP4, whole or not at all; whether the clips went in as they are.

    `progress` is told of each scene before it is written. Raises `FilmError` and `OSError`.
    """
    formats = {scene.clip.format for scene in scenes}
    as_is = len(formats) == 1 and next(iter(formats))[0] == "h264"
    part = out.with_name(f"{out.name}.part")
    try:
        with av.open(str(part), "w", format="mp4", options=_FASTSTART) as film:
            _write(scenes, film, progress, as_is=as_is)
        part.replace(out)
    except av.error.FFmpegError as error:
        raise FilmError(f"{out} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    return as_is


def _write(
    scenes: Sequence[Scene],
    film: OutputContainer,
    progress: Callable[[Scene], None],
    *,
    as_is: bool,
) -> None:
    with av.open(f"file:{scenes[0].clip.path}") as first:
        like = first.streams.video[0]
        video = film.add_stream_from_template(like) if as_is else _encoder(film, like)
        captions = _caption_track(film)
        starts_s = [0.0]
        for scene in scenes:
            starts_s.append(starts_s[-1] + scene.clip.duration_s + GAP_S)
        film.set_chapters([_chapter(n, s, starts_s) for n, s in enumerate(scenes)])
        join = _Copy(film, video) if as_is else _Encode(film, video)
        for scene, start_s in zip(scenes, starts_s, strict=False):
            progress(scene)
            film.mux(_caption(scene, start_s, captions))
            with av.open(f"file:{scene.clip.path}") as clip:
                join.add(clip, start_s)
        join.end()


class _Copy:
    """Puts packets in as they are."""

    def __init__(self, film: OutputContainer, video: VideoStream) -> None:
        self._film = film
        self._video = video
        self._last_dts = -_TICKS

    def add(self, clip: Any, start_s: float) -> None:
        """Put all of a clip's video in, from that second of the film on."""
        shift: int | None = None
        for packet in clip.demux(clip.streams.video[0]):
            if packet.dts is None or packet.pts is None:
                continue
            ticks = packet.time_base * _TICKS
            dts, pts = round(packet.dts * ticks), round(packet.pts * ticks)
            if shift is None:
                shift = round(start_s * _TICKS) - dts
            packet.time_base = _TIME_BASE
            packet.dts = max(dts + shift, self._last_dts + 1)
            packet.pts = max(pts + shift, packet.dts)
            packet.stream = self._video
            self._last_dts = packet.dts
            self._film.mux(packet)

    def end(self) -> None:
        """All is in already."""


class _Encode:
    """Encodes pictures as H.264, fitted into the film's size."""

    def __init__(self, film: OutputContainer, video: VideoStream) -> None:
        self._film = film
        self._video = video
        self._last_pts = -1

    def add(self, clip: Any, start_s: float) -> None:
        """Put all of a clip's pictures in, from that second of the film on."""
        first_s: float | None = None
        for picture in clip.decode(clip.streams.video[0]):
            if picture.time is None:
                continue
            first_s = picture.time if first_s is None else first_s
            pixels = _fitted(picture.to_ndarray(format="rgb24"), self._video)
            frame = VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.time_base = _TIME_BASE
            since_s = max(0.0, picture.time - first_s)
            frame.pts = max(round((start_s + since_s) * _TICKS), self._last_pts + 1)
            self._last_pts = frame.pts
            self._film.mux(self._video.encode(frame))

    def end(self) -> None:
        """What the encoder still holds."""
        self._film.mux(self._video.encode(None))


def _encoder(film: OutputContainer, like: VideoStream) -> VideoStream:
    video = film.add_stream("libx264", rate=25, options=_ENCODER)
    video.width, video.height = like.width // 2 * 2, like.height // 2 * 2  # as 4:2:0 wants it
    video.pix_fmt = "yuv420p"
    video.codec_context.time_base = _TIME_BASE
    return video


def _fitted(image: Image, video: VideoStream) -> Image:
    """Scaled to the film's size with black at the sides, where the shape is another."""
    height_px, width_px = image.shape[:2]
    scale = min(video.width / width_px, video.height / height_px)
    size = max(1, round(width_px * scale)), max(1, round(height_px * scale))
    if size != (width_px, height_px):
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    canvas = np.zeros((video.height, video.width, 3), np.uint8)
    top, left = (video.height - size[1]) // 2, (video.width - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = image[: video.height, : video.width]
    return canvas


def _caption_track(film: OutputContainer) -> SubtitleStream:
    track = film.add_stream("mov_text")
    track.codec_context.subtitle_header = _STYLE
    track.codec_context.time_base = _TIME_BASE
    track.metadata["language"] = "und"
    return track


def _caption(scene: Scene, start_s: float, track: SubtitleStream) -> Any:
    text = scene.caption[:_LONGEST_CAPTION].encode()
    packet = av.Packet(struct.pack(">H", len(text)) + text)
    packet.stream = track
    packet.time_base = _TIME_BASE
    packet.pts = packet.dts = round(start_s * _TICKS)
    packet.duration = round(scene.clip.duration_s * _TICKS)
    return packet


def _chapter(number: int, scene: Scene, starts_s: Sequence[float]) -> Any:
    return {
        "id": number + 1,
        "start": round(starts_s[number] * 1000),
        "end": round(starts_s[number + 1] * 1000),
        "time_base": Fraction(1, 1000),
        "metadata": {"title": scene.title},
    }
