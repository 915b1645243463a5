"""Which values of the configuration make sense?

Knows no file: single values come in and are returned, or `Refused` with how to mend them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationInfo

from daemon.config_errors import Refused, did_you_mean
from daemon.secrets import SecretError, Secrets, read_secret_file
from pipelines.clock import SystemClock
from pipelines.errors import SourceError
from pipelines.polygons import Polygon, problem_of
from pipelines.smolvlm2.presets import NAMES
from pipelines.smolvlm2.prompt import CONTROL_TOKENS
from pipelines.sources import SourceUrl, open_source
from pipelines.window_plan import MOST_FRAMES

SLUG_SCHEMA = {"type": "string", "pattern": "^[a-z0-9_]+$", "maxLength": 64}
CAMERAS_SCHEMA = {
    "anyOf": [
        {"const": "all"},
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
    ]
}

_SLUG = re.compile(r"[a-z0-9_]{1,64}")
_RESERVED = {"bridge": "its topics are smolwatch's own", "all": "rules mean every camera by it"}
_SCHEMES = ("rtsp", "rtsps", "http", "https", "scene", "file")  # what `open_source` reads


@dataclass(frozen=True, slots=True)
class Context:
    """What a check knows of the world and of the rest of the file."""

    secrets: Secrets
    cameras: tuple[str, ...]
    has_media: bool = True  # whether pictures have a place to go
    folder: Path = Path()  # where the file lies


def names_of_cameras(values: object) -> tuple[str, ...]:
    """The names below `cameras:`, whether or not the rest of the file is right."""
    cameras = values.get("cameras") if isinstance(values, dict) else None
    return tuple(cameras) if isinstance(cameras, dict) else ()


def slug(name: str) -> str:
    """A name that may stand in topics and file names."""
    if not _SLUG.fullmatch(name):
        tame = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:64]
        hint = f": write {tame}" if tame else ""
        raise Refused(f"a name is 1 to 64 of a-z, 0-9 and _{hint}")
    return name


def camera_slug(name: str) -> str:
    """A slug that no camera must have."""
    if name in _RESERVED:
        raise Refused(f"no camera can have this name, {_RESERVED[name]}: choose another")
    return name


def model_name(name: str) -> str:
    """A known model, or something that looks like a directory."""
    if name in NAMES or (("/" in name or name in {".", ".."}) and "HuggingFaceTB" not in name):
        return name
    known = f"found '{name}'; expected one of {', '.join(NAMES)}, or a directory such as ./{name}"
    if "HuggingFaceTB" in name:
        known = "found a name on the model hub; expected the short one: 256m, 500m or 2.2b"
    raise Refused(known + "." + did_you_mean(name.lower(), NAMES))


def source(value: object, info: ValidationInfo) -> SourceUrl:
    """A camera's address with its secrets filled in."""
    if not isinstance(value, str) or not value:
        hint = "; the first USB camera is `source: usb:0`" if value == 0 else ""
        raise Refused(f"expected a text in quotes, the camera's address{hint}")
    url = SourceUrl(_fill(value, info))
    if url.scheme and url.scheme not in _SCHEMES:
        guess = did_you_mean(url.scheme, _SCHEMES)
        known = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        raise Refused(
            f"nothing reads {url.scheme}:// addresses; expected {known}, a video file or a USB "
            f"camera.{guess}"
        )
    try:
        open_source(url, SystemClock())  # reads nothing yet; knows its own settings best
    except SourceError as error:
        raise Refused(str(error)) from error
    return url


def filled(value: object, info: ValidationInfo) -> object:
    """A text with its `{NAME}`s filled in."""
    return _fill(value, info) if isinstance(value, str) else value


def _fill(text: str, info: ValidationInfo) -> str:
    if not isinstance(info.context, Context):
        return text
    try:
        return info.context.secrets.fill(text)
    except SecretError as error:
        raise Refused(str(error)) from error


def file_text(value: object) -> str:
    """The text of a secret file, instead of its path."""
    if not isinstance(value, str) or not value:
        raise Refused("expected the path of a file that holds the password")
    try:
        return read_secret_file(Path(value))
    except SecretError as error:
        raise Refused(str(error)) from error


def camera_names(value: object, info: ValidationInfo) -> object:
    """`all`, a name or names, as a tuple of the names of cameras that there are."""
    known = info.context.cameras if isinstance(info.context, Context) else ()
    names = [value] if isinstance(value, str) else value
    # A list within the list is told here: it is no name, and no set could hold it.
    listed = names if isinstance(names, (list, tuple)) else []
    if not listed or not all(isinstance(name, str) for name in listed):
        raise Refused("expected `all`, or a list of cameras such as [porch, garage]")
    if tuple(listed) == ("all",):
        return known
    for name in listed:
        if name not in known and known:
            guess = did_you_mean(str(name), known)
            raise Refused(f"there is no camera '{name}'.{guess} There are: {', '.join(known)}")
    return tuple(dict.fromkeys(listed))


def question(text: str) -> str:
    """One line, without space around it."""
    if "\n" in text.strip():
        raise Refused("found several lines; expected one question on one line")
    return text.strip()


def caption(text: str) -> str:
    """What a reference picture says: it stands in the model's prompt."""
    if any(token in text for token in CONTROL_TOKENS):
        raise Refused(f"found one of {', '.join(CONTROL_TOKENS)}, which only the model may use")
    return question(text)


def stride(stride_s: float, info: ValidationInfo) -> float:
    """Windows start on sampled frames, so the stride is a multiple of the interval."""
    interval_s = info.data.get("interval_s", stride_s)
    steps = stride_s / interval_s
    if round(steps) < 1 or abs(steps - round(steps)) > 1e-6:
        near = max(1, round(steps)) * interval_s
        text = f"found {stride_s:g}; expected a multiple of interval_s ({interval_s:g})"
        raise Refused(f"{text}, for example {near:g}")
    return stride_s


def anchor(value: object, info: ValidationInfo) -> bool:
    """Anchored windows grow to twice their frames."""
    if not isinstance(value, bool):
        raise Refused(f"found {value!r}; expected true or false")
    most = MOST_FRAMES // 2
    if value and info.data.get("num_frames", 1) > most:
        raise Refused(f"needs num_frames of at most {most}: such windows grow to twice as many")
    return value


def below_opening(close_below: float, info: ValidationInfo) -> float:
    """The hysteresis band must not be empty."""
    open_above = info.data.get("open_above")
    if open_above is not None and close_below >= open_above:
        raise Refused(f"is {close_below:g}; expected less than open_above ({open_above:g})")
    return close_below


def at_least_needed(of: int, info: ValidationInfo) -> int:
    """4 of 3 never agree."""
    needed = info.data.get("needed", 0)
    if of < needed:
        raise Refused(f"is {of}; expected at least `needed` ({needed})")
    return of


def polygon(points: Polygon) -> Polygon:
    """A part of the picture."""
    problem = problem_of(points)
    if problem is not None:
        raise Refused(problem)
    return points


def with_media(value: object, info: ValidationInfo) -> object:
    """Pictures of alerts need a folder."""
    if value and isinstance(info.context, Context) and not info.context.has_media:
        raise Refused("needs a folder to write to; add `media: {dir: /var/lib/smolwatch/media}`")
    return value


def none_if_off(value: object) -> object:
    """`describe: off` means none; YAML 1.2 reads `off` as a word."""
    return None if value is False or value in ("off", "no", "false") else value


def off_instead_of_null(schema: dict[str, Any]) -> None:
    """Tell editors what `none_if_off` takes."""
    schema["anyOf"] = [
        {"enum": [False, "off"]} if option == {"type": "null"} else option
        for option in schema["anyOf"]
    ]
