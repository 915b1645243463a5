"""Where do pictures come from?

Knows which source reads which address, and nothing of how. Sources are imported when they are
first asked for, so that a box without USB cameras never loads what they need.
"""

from __future__ import annotations

from pipelines.clock import Clock
from pipelines.errors import SourceError
from pipelines.sources.base import DecodeMode, FrameSource, Picture, SampleGrid
from pipelines.sources.url import SourceUrl

__all__ = ["DecodeMode", "FrameSource", "Picture", "SampleGrid", "SourceUrl", "open_source"]


def open_source(
    url: SourceUrl,
    clock: Clock,
    *,
    decode: DecodeMode = "auto",
    realtime: bool = True,
    loop: bool = False,
) -> FrameSource:
    """The source that reads `url`, not opened yet.

    `rtsp(s)://` and `http(s)://` are read over the network; `/dev/video*`, `/dev/v4l/*` and
    `usb:0` are USB cameras; `scene://` is drawn; any other path, or `file://`, is a video file,
    which `realtime` paces and `loop` (or `?loop=1`) repeats. `decode` says how much of compressed
    video is decoded; USB cameras and scenes have no use for it. Raises `SourceError` for an unknown
    scheme.
    """
    scheme = url.scheme
    if scheme in {"rtsp", "rtsps", "http", "https"}:
        from pipelines.sources.stream import StreamSource  # noqa: PLC0415 - see above

        return StreamSource(url, clock, decode=decode)
    if scheme == "scene":
        from pipelines.sources.scene import SceneSource  # noqa: PLC0415 - see above

        return SceneSource(url, clock)
    if scheme == "" and url.secret.startswith(("/dev/video", "/dev/v4l/", "usb:")):
        from pipelines.sources.usb import UsbSource  # noqa: PLC0415 - see above

        return UsbSource(url, clock)
    if scheme in {"", "file"}:
        from pipelines.sources.file import FileSource  # noqa: PLC0415 - see above

        return FileSource(url, clock, decode=decode, realtime=realtime, loop=loop)
    raise SourceError(
        f"{url}: nothing here reads {scheme}:// addresses. Use rtsp://, rtsps://, http://, "
        "https://, scene://, file://, a path to a video file, or /dev/v4l/by-id/... for USB."
    )
