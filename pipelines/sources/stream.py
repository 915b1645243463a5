"""How are network cameras read?

Knows RTSP and HTTP as FFmpeg speaks them, and what its errors mean; no decoding.
"""

from __future__ import annotations

import threading

import av
import av.container
import av.error

from pipelines.clock import Clock
from pipelines.errors import (
    AuthFailed,
    EndOfStream,
    NotFound,
    NoVideo,
    SourceError,
    Stalled,
    Unreachable,
)
from pipelines.sources.base import DecodeMode, Picture, SampleGrid
from pipelines.sources.reader import Pacer, VideoReader
from pipelines.sources.url import SourceUrl

# Seconds to open, seconds for a read. FFmpeg retries once, so the error comes after twice that.
_TIMEOUT_S = (5.0, 3.0)
_LATE = 0.9  # of a time-out: an error that comes so late is no other
_COMMON_OPTIONS = {
    "user_agent": "smolwatch",
    # Half a second to look at the stream, and no frame-rate probing: the first picture comes
    # after 0.5 s instead of 1.9 s.
    "analyzeduration": "500000",
    "fpsprobesize": "0",
}
_RTSP_OPTIONS = {
    "rtsp_transport": "tcp",  # UDP loses packets on the Wi-Fi that cameras hang on
    "allowed_media_types": "video",  # else audio keeps a connection alive whose video is frozen
}
# Files and playlists arrive in bursts; their pictures are held back to the pace they state.
_BURSTY_FORMATS = frozenset({"hls", "mov", "matroska"})
# Multipart JPEG carries no time stamps, and FFmpeg makes them up at 25 a second.
_UNTIMED_FORMATS = frozenset({"mpjpeg", "mjpeg"})


class StreamSource:
    """One RTSP or HTTP camera, over TCP. See `FrameSource`."""

    def __init__(self, url: SourceUrl, clock: Clock, *, decode: DecodeMode = "auto") -> None:
        self._url = url
        self._decode: DecodeMode = decode
        self._clock = clock
        self._container: av.container.InputContainer | None = None
        self._reader: VideoReader | None = None
        self._pacer: Pacer | None = None

    @property
    def url(self) -> SourceUrl:
        """See `FrameSource.url`."""
        return self._url

    def open(self) -> None:
        """See `FrameSource.open`."""
        self._container = container = connect(self._url, self._clock)
        formats = set(container.format.name.split(","))
        timed = not formats & _UNTIMED_FORMATS
        bursty = bool(formats & _BURSTY_FORMATS)
        self._reader = VideoReader(
            self._url,
            container,
            self._clock,
            SampleGrid(),
            mode=self._decode,
            timed=timed,
            live=timed and not bursty,
        )
        self._pacer = Pacer(self._clock) if bursty else None

    def read(self, sample_interval_s: float, stop: threading.Event) -> Picture | None:
        """See `FrameSource.read`."""
        if self._reader is None:
            raise SourceError(f"{self._url}: read before it was opened.")
        picture = self._next(self._reader, sample_interval_s)
        if isinstance(picture, SourceError):
            raise picture
        if picture is None:
            raise EndOfStream(f"{self._url}: the camera ended the stream.")
        if self._pacer and picture.pts_s is not None and not self._pacer.wait(picture.pts_s, stop):
            return None
        return picture

    def close(self) -> None:
        """See `FrameSource.close`."""
        self._reader = None
        if self._container is not None:
            self._container.close()
            self._container = None

    def _next(self, reader: VideoReader, sample_interval_s: float) -> Picture | SourceError | None:
        begun_s = self._clock.monotonic_s()
        try:
            return reader.read(sample_interval_s)
        except (av.error.FFmpegError, OSError) as exc:
            waited_s = self._clock.monotonic_s() - begun_s
            return _reading_error(self._url, exc, late=waited_s >= _LATE * _TIMEOUT_S[1])


def connect(url: SourceUrl, clock: Clock, *, audio: bool = False) -> av.container.InputContainer:
    """Open a network camera; with `audio`, sound is sent as well. Raises a `SourceError`."""
    options = dict(_COMMON_OPTIONS)
    if url.scheme in {"rtsp", "rtsps"}:
        options |= _RTSP_OPTIONS
        if audio:
            del options["allowed_media_types"]
    # Errors are raised outside of `except`: FFmpeg's own quotes the address, password and all,
    # and a traceback prints every error that it finds in the chain.
    container = _connected(url, clock, options)
    if isinstance(container, SourceError):
        raise container
    return container


def _connected(
    url: SourceUrl, clock: Clock, options: dict[str, str]
) -> av.container.InputContainer | SourceError:
    begun_s = clock.monotonic_s()
    try:
        return av.open(url.secret, options=options, timeout=_TIMEOUT_S)
    except (av.error.FFmpegError, OSError, ValueError) as exc:
        waited_s = clock.monotonic_s() - begun_s
        return _opening_error(url, exc, late=waited_s >= _LATE * _TIMEOUT_S[0])


def _opening_error(url: SourceUrl, exc: Exception, *, late: bool) -> SourceError:
    """What FFmpeg's error while opening means. Its text is left out but for `strerror`.

    `late`: it came at the time-out, and says that, whatever it is called (a camera that accepts
    and never answers gives "invalid data").
    """
    if isinstance(exc, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        return AuthFailed(f"{url}: wrong user name or password. Check both with a video player.")
    if isinstance(exc, av.error.HTTPNotFoundError):
        return NotFound(
            f"{url}: the camera answers, but not at this path (404). "
            "Its manual or its ONVIF page names the stream's path."
        )
    if late:
        return Unreachable(
            f"{url}: no answer in time. Check that it is a camera, and not another machine or port."
        )
    if isinstance(exc, av.error.HTTPError | av.error.InvalidDataError | av.error.LookupError):
        return NoVideo(f"{url}: the answer holds no video ({_reason(url, exc)}). Check the path.")
    return Unreachable(
        f"{url}: no connection ({_reason(url, exc)}). "
        "Check that the camera is on, and its address and port."
    )


def _reading_error(url: SourceUrl, exc: Exception, *, late: bool) -> SourceError:
    """What FFmpeg's error in mid-stream means; see `_opening_error` for `late`."""
    if late or isinstance(exc, av.error.ExitError | TimeoutError):
        return Stalled(f"{url}: connected, but nothing arrives any more.")
    return EndOfStream(f"{url}: the connection broke ({_reason(url, exc)}).")


def _reason(url: SourceUrl, exc: Exception) -> str:
    if isinstance(exc, av.error.ExitError):  # PyAV's way to end a call that takes too long
        return "no answer in time"
    return url.redact(getattr(exc, "strerror", None) or type(exc).__name__)
