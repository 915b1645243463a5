"""What can fail in the pipeline?

Knows no cause in detail: each error's message says what, where and how to mend it.

    SmolwatchError
    ├── SourceError            a camera or file gives no frames (retried for ever)
    │   ├── AuthFailed         401: wrong user or password
    │   ├── NotFound           404, or no such file or device
    │   ├── AccessDenied       a file or device that this user may not read
    │   ├── DeviceBusy         a USB camera that another program holds
    │   ├── Unreachable        refused, no route, time-out while opening
    │   ├── NoVideo            it answered, but with nothing that can be decoded
    │   ├── NoKeyframe         pictures come, and none of them can be begun with
    │   ├── Stalled            it was open, and the newest frame is too old
    │   └── EndOfStream        a live stream ended cleanly
    ├── ModelError             weights, tokenizer or engine cannot be loaded
    │   └── ModelUnavailable   not now: no network, disk or memory for it (tried again)
    ├── InferenceError         one window could not be run (skipped and counted)
    └── RequestRefused         a question to the model that gets no answer (told to who asked)
"""

from __future__ import annotations

from typing import ClassVar


class SmolwatchError(Exception):
    """Base of all errors whose message is meant for the person who runs smolwatch."""


class SourceError(SmolwatchError):
    """A source gives no frames. `cause` is the short word shown in health and logs."""

    cause: ClassVar[str] = "source_error"
    backoff_cap_s: ClassVar[float] = 30.0


class AuthFailed(SourceError):
    """401 or 403. Retried slowly: cameras lock accounts after a few wrong passwords."""

    cause = "auth_failed"
    backoff_cap_s = 60.0


class NotFound(SourceError):
    """404 from the camera, or no such file or device."""

    cause = "not_found"
    backoff_cap_s = 30.0


class AccessDenied(SourceError):
    """The operating system refuses the file or device to this user."""

    cause = "access_denied"
    backoff_cap_s = 30.0


class DeviceBusy(SourceError):
    """Another program holds the USB camera."""

    cause = "device_busy"
    backoff_cap_s = 4.0


class NoVideo(SourceError):
    """The source answered, but offers no video stream that can be decoded."""

    cause = "no_video"
    backoff_cap_s = 30.0


class NoKeyframe(SourceError):
    """Packets arrive, but no keyframe, so that none of them can be decoded."""

    cause = "no_keyframe"
    backoff_cap_s = 30.0


class Unreachable(SourceError):
    """Refused, no route to host, or no answer in time while opening."""

    cause = "unreachable"
    backoff_cap_s = 4.0


class Stalled(SourceError):
    """The stream was open and its newest frame grew too old."""

    cause = "stalled"
    backoff_cap_s = 4.0


class EndOfStream(SourceError):
    """A live stream ended cleanly: a killed server looks just like that."""

    cause = "end_of_stream"
    backoff_cap_s = 4.0


class ModelError(SmolwatchError):
    """A model cannot be loaded; the message says what to do about it."""


class ModelUnavailable(ModelError):
    """It cannot be loaded now, but may be by itself later: a network, a disk or memory is short."""


class InferenceError(SmolwatchError):
    """One window could not be run."""


class RequestRefused(SmolwatchError):
    """A question that somebody asked the model gets no answer; the message says why."""
