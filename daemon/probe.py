"""What does `smolwatch probe` make of a camera: what to configure, and what to change?

Knows the configuration's form and what the model needs; measuring is `pipelines.probe`'s.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from urllib.parse import unquote

from pipelines.errors import (
    AccessDenied,
    AuthFailed,
    DeviceBusy,
    NoKeyframe,
    NotFound,
    NoVideo,
    SourceError,
    Stalled,
    Unreachable,
)
from pipelines.probe import StreamFacts
from pipelines.sources import SourceUrl

# As sysexits.h has them, so that a script can tell them apart; any other error is 1.
EXIT_CODES: dict[type[SourceError], int] = {
    AuthFailed: 77,  # EX_NOPERM
    AccessDenied: 77,
    NotFound: 66,  # EX_NOINPUT
    NoVideo: 65,  # EX_DATAERR
    NoKeyframe: 65,
    Unreachable: 69,  # EX_UNAVAILABLE
    Stalled: 69,
    DeviceBusy: 69,
}

_LARGE_PX = 1280  # the largest model sees 512: twice that, and a little, is plenty
_RARE_S = 4.0  # keyframes further apart cost decoding, and time after every loss
_CLOCK_S = 5.0
_TELLING = "[a-z]*(?:pas|pwd|token|key|auth|secret|sig)[a-z]*="
# Where addresses hold secrets: before the last @ (passwords hold @ and / that nobody escaped), in
# the query, and in the path (`/user=admin_password=...`, as XM cameras have it).
_SECRETS = (
    re.compile(r"(?<=://)([^/:@]*:)(.+)(?=@)"),
    re.compile(rf"([?&]{_TELLING})([^&#{{]+)", re.IGNORECASE),
    re.compile(rf"([/_]{_TELLING})([^&_/?#{{]+)", re.IGNORECASE),
)


def proposal(url: SourceUrl, name: str) -> tuple[str, dict[str, str]]:
    """The camera's configuration in YAML, and the secrets that it refers to: name -> value."""
    secrets: dict[str, str] = {}

    def reference(value: str) -> str:
        value = unquote(value)  # `{NAME}` is percent-encoded when it is filled in
        known = next((secret for secret, other in secrets.items() if other == value), None)
        secret = known or f"{name.upper()}_PASSWORD{len(secrets) + 1 if secrets else ''}"
        secrets[secret] = value
        return f"{{{secret}}}"

    address = url.secret
    if url.scheme in {"rtsp", "rtsps", "http", "https"}:
        for pattern in _SECRETS:
            address = pattern.sub(lambda found: found[1] + reference(found[2]), address)
    return f"cameras:\n  {name}:\n    source: {json.dumps(address, ensure_ascii=False)}\n", secrets


def advice(facts: StreamFacts) -> list[str]:
    """What would make the camera cheaper to watch, or more reliable."""
    found = []
    if max(facts.width_px, facts.height_px) > _LARGE_PX:
        found.append(
            f"The picture is {facts.width_px}x{facts.height_px}, and the model sees at most 512 "
            "pixels: use the camera's substream (640x360 or so) if it has one; docs/cameras.md "
            "names its path for common brands."
        )
    if facts.codec in {"h264", "hevc"}:
        interval_s = facts.keyframe_interval_s
        if interval_s is None or interval_s > _RARE_S:
            seldom = "seldom" if interval_s is None else f"every {interval_s:.0f} s"
            found.append(
                f"A keyframe comes {seldom}: set the keyframe (I-frame) interval to 1 or 2 s and "
                "turn off the smart codec (H.264+, H.265+)."
            )
    if facts.codec == "hevc":
        found.append("H.265 takes about twice the CPU of H.264 to decode: choose H.264 if you can.")
    if facts.clock_ahead_s is not None and abs(facts.clock_ahead_s) > _CLOCK_S:
        found.append(
            f"The camera's clock is {abs(facts.clock_ahead_s):.0f} s "
            f"{'ahead' if facts.clock_ahead_s > 0 else 'behind'}: give it an NTP server."
        )
    return found


def report(url: SourceUrl, facts: StreamFacts, name: str) -> str:
    """What was found, for people; ends with the configuration."""
    yaml, secrets = proposal(url, name)
    rate = "?" if facts.fps is None else f"{facts.fps:.0f}"
    every = facts.keyframe_interval_s
    clock = "none" if facts.clock_ahead_s is None else f"{facts.clock_ahead_s:+.1f} s from ours"
    lines = [
        f"{url}",
        f"  picture      {facts.codec or 'decoded'}, {facts.width_px}x{facts.height_px}, {rate}/s",
        f"  keyframes    {'not known' if every is None else f'every {every:.1f} s'}",
        f"  sound        {facts.audio or 'none'} (not used)"
        if facts.audio
        else "  sound        none",
        f"  first frame  after {facts.first_frame_s:.1f} s",
        f"  its clock    {clock}",
        *(f"\n! {line}" for line in advice(facts)),
        "",
        *(f"# the secret {secret} goes where the example configuration says" for secret in secrets),
        yaml,
    ]
    return "\n".join(lines)


def report_json(url: SourceUrl, facts: StreamFacts, name: str) -> str:
    """The same, for programs."""
    yaml, secrets = proposal(url, name)
    rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(facts).items()}
    told = {
        "url": str(url), **rounded, "advice": advice(facts), "config": yaml,
        "secrets": sorted(secrets),
    }  # fmt: skip
    return json.dumps(told, ensure_ascii=False)


def report_error(url: SourceUrl, error: SourceError) -> str:
    """Why there is nothing to tell, for programs."""
    return json.dumps({"url": str(url), "error": error.cause, "message": str(error)})
