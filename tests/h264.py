"""What does the test server send, and how is it told apart?

Knows H.264 and H.265 in Annex B, and how to draw a clip whose every frame carries its own number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.bitstream import BitStreamFilterContext

Codec = Literal["h264", "hevc"]

_NUMBER_BITS = 8
_SLICE, _IDR, _SPS, _PPS, _DELIMITER = 1, 5, 7, 8, 9  # nal_unit_type, H.264 table 7-1
_SETS_265 = (32, 33, 34)  # VPS, SPS, PPS; H.265 table 7-1
_DELIMITER_265 = 35


@dataclass(frozen=True)
class AccessUnit:
    """All NAL units of one picture, without start codes."""

    nals: tuple[bytes, ...]
    pts_s: float  # when it is shown, from the clip's start
    dts_s: float  # when it is sent
    is_key: bool


@dataclass(frozen=True)
class Clip:
    """A clip in sending order."""

    codec: Codec
    units: tuple[AccessUnit, ...]
    duration_s: float
    sets: tuple[bytes, ...]  # SPS and PPS; H.265 has a VPS before them


def nal_type(nal: bytes, codec: Codec = "h264") -> int:
    return nal[0] & 0x1F if codec == "h264" else nal[0] >> 1 & 0x3F


def split_annexb(stream: bytes) -> list[bytes]:
    """The NAL units between the start codes 00 00 01 and 00 00 00 01."""
    nals = [part.rstrip(b"\0") for part in stream.split(b"\0\0\1")]
    return [nal for nal in nals if nal]


def load_clip(path: Path, fps: float = 10.0) -> Clip:
    """Read an MP4 (or any container with H.264 or H.265), or a bare Annex-B file at `fps`."""
    if path.suffix in {".h264", ".264"}:
        codec: Codec = "h264"
        units = _group_pictures(split_annexb(path.read_bytes()), fps)
        duration_s = len(units) / fps
    else:
        codec, units, duration_s = _demux(path)
    nals = [nal for unit in units for nal in unit.nals]
    wanted = (_SPS, _PPS) if codec == "h264" else _SETS_265
    sets = tuple(next(n for n in nals if nal_type(n, codec) == kind) for kind in wanted)
    return Clip(codec, tuple(units), duration_s, sets)


def _demux(path: Path) -> tuple[Codec, list[AccessUnit], float]:
    units: list[AccessUnit] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        codec: Codec = "hevc" if stream.codec_context.name == "hevc" else "h264"
        delimiter = _DELIMITER if codec == "h264" else _DELIMITER_265
        to_annexb = BitStreamFilterContext(f"{codec}_mp4toannexb", stream)
        tick_s = float(stream.time_base)
        frame_s = float(1 / stream.average_rate)
        for packet in container.demux(stream):
            for part in to_annexb.filter(packet if packet.size else None):
                found = split_annexb(bytes(part))
                nals = tuple(nal for nal in found if nal_type(nal, codec) != delimiter)
                pts_s, dts_s = part.pts * tick_s, part.dts * tick_s
                units.append(AccessUnit(nals, pts_s, dts_s, part.is_keyframe))
    first_s = min(unit.dts_s for unit in units)
    moved = [replace(u, pts_s=u.pts_s - first_s, dts_s=u.dts_s - first_s) for u in units]
    return codec, moved, len(units) * frame_s


def _group_pictures(nals: list[bytes], fps: float) -> list[AccessUnit]:
    """One unit a picture. A slice whose first_mb_in_slice is 0 (a leading 1 bit) begins one."""
    groups: list[list[bytes]] = []
    has_slice = True
    for nal in nals:
        is_slice = nal_type(nal) in {_SLICE, _IDR}
        if has_slice and (not is_slice or nal[1] & 0x80):
            groups.append([])
            has_slice = False
        has_slice = has_slice or is_slice
        groups[-1].append(nal)
    return [
        AccessUnit(tuple(group), i / fps, i / fps, any(nal_type(nal) == _IDR for nal in group))
        for i, group in enumerate(groups)
    ]


def draw_numbered(number: int, width_px: int, height_px: int) -> np.ndarray:
    """A picture whose upper half spells `number` in black and white bars, its lower half grey."""
    image = np.full((height_px, width_px, 3), 128, np.uint8)
    bar_px = width_px // _NUMBER_BITS
    for bit in range(_NUMBER_BITS):
        level = 235 if number >> bit & 1 else 16
        image[: height_px // 2, bit * bar_px : (bit + 1) * bar_px] = level
    image[height_px // 2 :, :, 0] = 200  # red below, so that swapped colours show
    image[height_px // 2 :, :, 2] = 40
    return image


def read_number(image: np.ndarray) -> int:
    """The number that `draw_numbered` drew, at any size."""
    height_px, width_px = image.shape[:2]
    row = image[height_px // 4]
    middles = [int((bit + 0.5) * (width_px / _NUMBER_BITS)) for bit in range(_NUMBER_BITS)]
    return sum(1 << bit for bit, x in enumerate(middles) if row[x].mean() > 128)


def write_numbered_clip(
    path: Path,
    frames: int = 40,
    fps: int = 10,
    size_px: tuple[int, int] = (320, 240),
    gop: int = 5,
    codec: Codec = "h264",
) -> Path:
    """Write an MP4 as a camera makes it: no B-frames, a keyframe every `gop`."""
    with av.open(str(path), "w") as container:
        options = {"bf": "0", "tune": "zerolatency", "preset": "ultrafast", "sc_threshold": "0"}
        encoder = "libx264" if codec == "h264" else "libx265"
        if codec == "hevc":
            quiet = f"log-level=none:bframes=0:scenecut=0:open-gop=0:keyint={gop}"
            options = {"preset": "ultrafast", "tune": "zerolatency", "x265-params": quiet}
        stream = container.add_stream(encoder, rate=fps, options=options)
        stream.width, stream.height = size_px
        stream.pix_fmt = "yuv420p"
        stream.gop_size = gop
        for number in range(frames):
            image = draw_numbered(number % 256, *size_px)
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path
