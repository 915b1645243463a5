"""How is a video file played like a camera?

Knows files and their pace; no decoding.
"""

from __future__ import annotations

import threading
from pathlib import Path

import av
import av.container
import av.error

from pipelines.clock import Clock
from pipelines.errors import AccessDenied, NotFound, NoVideo, SourceError
from pipelines.sources.base import DecodeMode, Picture, SampleGrid
from pipelines.sources.reader import Pacer, VideoReader
from pipelines.sources.url import SourceUrl, local_path


class FileSource:
    """One video file, at its own pace or (`realtime=False`) as fast as it can be decoded.

    `loop`, or `?loop=1` in the address, repeats it for ever with time stamps that go on, as a
    camera's would. See `FrameSource`.
    """

    def __init__(
        self,
        url: SourceUrl,
        clock: Clock,
        *,
        decode: DecodeMode = "auto",
        realtime: bool = True,
        loop: bool = False,
    ) -> None:
        path, settings = local_path(url)
        self._url = url
        self._path = Path(path)
        self._clock = clock
        self._decode: DecodeMode = decode
        self._loop = loop or settings.get("loop", "0") not in {"0", "false", "no"}
        self._pacer = Pacer(clock) if realtime else None
        self._grid = SampleGrid()
        self._container: av.container.InputContainer | None = None
        self._reader: VideoReader | None = None
        self._end_s: float | None = None  # where the next round's time stamps go on

    @property
    def url(self) -> SourceUrl:
        """See `FrameSource.url`."""
        return self._url

    def open(self) -> None:
        """See `FrameSource.open`."""
        self._grid = SampleGrid()
        self._end_s = None
        self._open_at(0.0)

    def read(self, sample_interval_s: float, stop: threading.Event) -> Picture | None:
        """See `FrameSource.read`."""
        picture = self._next(sample_interval_s)
        if picture is None and self._loop and self._end_s is not None:
            self._open_at(self._end_s)
            picture = self._next(sample_interval_s)
        if picture is None or picture.pts_s is None or self._reader is None:
            return picture
        self._end_s = picture.pts_s + self._reader.frame_s
        if self._pacer and not self._pacer.wait(picture.pts_s, stop):
            return None
        return picture

    def close(self) -> None:
        """See `FrameSource.close`."""
        self._reader = None
        if self._container is not None:
            self._container.close()
            self._container = None

    def _next(self, sample_interval_s: float) -> Picture | None:
        if self._reader is None:
            raise SourceError(f"{self._url}: read before it was opened.")
        try:
            return self._reader.read(sample_interval_s)
        except av.error.FFmpegError as exc:
            raise NoVideo(f"{self._url}: the file is damaged ({exc.strerror}).") from exc

    def _open_at(self, shift_s: float) -> None:
        self.close()
        try:
            # `file:` keeps FFmpeg from taking a name with a colon in it for a protocol.
            self._container = av.open(f"file:{self._path}")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as exc:
            raise NotFound(f"{self._url}: no such file. Check the path.") from exc
        except PermissionError as exc:
            raise AccessDenied(f"{self._url}: may not be read by this user.") from exc
        except (av.error.FFmpegError, OSError) as exc:
            raise NoVideo(f"{self._url}: not a video file ({exc.strerror}).") from exc
        start_s = (self._container.start_time or 0) / av.time_base
        self._reader = VideoReader(
            self._url,
            self._container,
            self._clock,
            self._grid,
            mode=self._decode,
            shift_s=shift_s - start_s,
        )
