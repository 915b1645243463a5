"""What does the test server send, and how is it told apart?

Knows H.264 in Annex B, and how to draw a clip whose every frame carries its own number.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.bitstream import BitStreamFilterContext

_NUMBER_BITS = 8
_SLICE, _IDR, _SPS, _PPS, _DELIMITER = 1, 5, 7, 8, 9  # nal_unit_type, H.264 table 7-1


@dataclass(frozen=True)
class AccessUnit:
    """All NAL units of one picture, without start codes."""

    nals: tuple[bytes, ...]
    pts_s: float  # when it is shown, from the clip's start
    dts_s: float  # when it is sent

    @property
    def is_key(self) -> bool:
        return any(nal_type(nal) == _IDR for nal in self.nals)


@dataclass(frozen=True)
class H264Clip:
    """A clip in sending order."""

    units: tuple[AccessUnit, ...]
    duration_s: float
    sps: bytes
    pps: bytes


def nal_type(nal: bytes) -> int:
    return nal[0] & 0x1F


def split_annexb(stream: bytes) -> list[bytes]:
    """The NAL units between the start codes 00 00 01 and 00 00 00 01."""
    nals = [part.rstrip(b"\0") for part in stream.split(b"\0\0\1")]
    return [nal for nal in nals if nal]


def load_clip(path: Path, fps: float = 10.0) -> H264Clip:
    """Read an MP4 (or any container with H.264), or a bare Annex-B file at `fps`."""
    if path.suffix in {".h264", ".264"}:
        units = _group_pictures(split_annexb(path.read_bytes()), fps)
        duration_s = len(units) / fps
    else:
        units, duration_s = _demux(path)
    nals = [nal for unit in units for nal in unit.nals]
    sps = next(nal for nal in nals if nal_type(nal) == _SPS)
    pps = next(nal for nal in nals if nal_type(nal) == _PPS)
    return H264Clip(tuple(units), duration_s, sps, pps)


def _demux(path: Path) -> tuple[list[AccessUnit], float]:
    units: list[AccessUnit] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        to_annexb = BitStreamFilterContext("h264_mp4toannexb", stream)
        tick_s = float(stream.time_base)
        frame_s = float(1 / stream.average_rate)
        for packet in container.demux(stream):
            for part in to_annexb.filter(packet if packet.size else None):
                nals = tuple(n for n in split_annexb(bytes(part)) if nal_type(n) != _DELIMITER)
                units.append(AccessUnit(nals, part.pts * tick_s, part.dts * tick_s))
    first_s = min(unit.dts_s for unit in units)
    moved = [AccessUnit(u.nals, u.pts_s - first_s, u.dts_s - first_s) for u in units]
    return moved, len(units) * frame_s


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
    return [AccessUnit(tuple(group), i / fps, i / fps) for i, group in enumerate(groups)]


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
    path: Path, frames: int = 40, fps: int = 10, size_px: tuple[int, int] = (320, 240), gop: int = 5
) -> Path:
    """Write an MP4 with H.264 as a camera makes it: no B-frames, a keyframe every `gop`."""
    with av.open(str(path), "w") as container:
        options = {"bf": "0", "tune": "zerolatency", "preset": "ultrafast", "sc_threshold": "0"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height = size_px
        stream.pix_fmt = "yuv420p"
        stream.gop_size = gop
        for number in range(frames):
            image = draw_numbered(number % 256, *size_px)
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path
