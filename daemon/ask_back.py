"""How does the running daemon answer a question about a camera's last seconds?

Knows requests to the model and the words for them; no socket, no terminal and no broker.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

from daemon.config_errors import did_you_mean
from daemon.mqtt.payloads import iso_utc
from daemon.mqtt.text import full_text
from pipelines.clip import ClipError, read_snapshot
from pipelines.errors import RequestRefused
from pipelines.packet_ring import PacketRing, encode_jpeg
from pipelines.requests import Answer, Request, Requests
from pipelines.types import Frame

Json = dict[str, Any]

LONGEST_PATIENCE_S: Final = 600.0
TELL_EVERY_S: Final = 1.0  # what it waits for; so a daemon that hangs is told from one that works


def asking(
    requests: Requests, cameras: Collection[str], recordings: Mapping[str, PacketRing]
) -> Callable[[Json], Iterator[Json]]:
    """What answers the operation `ask` of `daemon.control`.

    `recordings`: of those cameras whose video is kept.
    """
    return partial(_asked, requests, cameras, recordings)


def _asked(
    requests: Requests,
    cameras: Collection[str],
    recordings: Mapping[str, PacketRing],
    request: Json,
) -> Iterator[Json]:
    """`{"waiting": why}` every second, then `{"answer": ...}`. Raises `RequestRefused`.

    Whoever asked and has gone is not answered: then the generator is closed.
    """
    camera, question, last_s = str(request["camera"]), request.get("question"), request.get("last")
    if camera not in cameras:
        guess = did_you_mean(camera, cameras)
        raise RequestRefused(
            f"there is no camera '{camera}'.{guess} There are: {', '.join(cameras)}"
        )
    wanted = Request(
        camera,
        None if question is None else str(question),
        None if last_s is None else float(last_s),
        min(float(request.get("patience") or 60.0), LONGEST_PATIENCE_S),
    )
    future = requests.put(wanted)
    try:
        while (answer := _result(future)) is None:
            yield {"waiting": requests.standing(future)}
    finally:
        future.cancel()
    told = answer_content(answer)
    if request.get("snapshot"):
        jpeg = picture_of(answer.frame, recordings.get(answer.request.camera))
        told["snapshot"] = base64.b64encode(jpeg).decode()
    yield {"answer": told}


def picture_of(frame: Frame, recording: PacketRing | None) -> bytes:
    """A frame's JPEG.

    At the camera's resolution where its video is kept, as for rules with `snapshot` or `clip`;
    else as the model saw it.
    """
    if recording is not None:
        with contextlib.suppress(ClipError):
            return read_snapshot(recording, frame.captured_s)
    return encode_jpeg(frame.image)


def answer_content(answer: Answer) -> Json:
    """An answer as people and programs get it; no monotonic time in it."""
    spent = answer.timings
    return {
        "camera": answer.request.camera,
        "question": answer.request.question,
        "text": full_text(answer.text),
        "p_yes": None if answer.p_yes is None else round(answer.p_yes, 4),
        "ts": iso_utc(answer.wall_time),
        "seconds": round(answer.end_s - answer.start_s, 2),
        "frames": answer.num_frames,
        "latency_ms": {
            "queue": round(spent.queue_ms),
            "encode": round(spent.encode_ms),
            "prefill": round(spent.prefill_ms),
            "decode": round(spent.decode_ms),
            "total": round(spent.total_ms),
        },
        "frames_encoded": spent.frames_encoded,
        "model": {"id": answer.model_id, "prompt_sha256": answer.prompt_sha256},
    }


def _result(future: Future[Answer]) -> Answer | None:
    try:
        return future.result(TELL_EVERY_S)
    except TimeoutError:
        return None
