"""Which windows stand for a camera's, where an engine is calibrated or held to the reference?

Knows no engine. Drawn scenes by default; pictures and recordings of the user's own cameras show a
calibration what it will really see.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import av.error
import cv2
import numpy as np

from pipelines.errors import ModelError
from pipelines.scenes.clips import draw_event
from pipelines.scenes.draw import Painter
from pipelines.scenes.truth import QUESTIONS
from pipelines.smolvlm2.exam import Paper
from pipelines.smolvlm2.preprocess import preprocess
from pipelines.smolvlm2.prompt import DESCRIBE_PROMPT, question_suffix, video_prefix
from pipelines.smolvlm2.tokens import Tokens
from pipelines.types import Image

PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
RECORDINGS = frozenset({".avi", ".mkv", ".mov", ".mp4", ".ts"})
ASKED = ("person", "car", "package_deliver", "person_arrive", "person_leave", "dog")


def scene_windows(count: int, num_frames: int, seed: int) -> list[list[Image]]:
    """Windows of drawn events, each of another one, uint8 RGB [H, W, 3]."""
    windows = []
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        act = draw_event(rng)
        painter = Painter(act.stage, 640, 360)
        times = np.linspace(0.0, act.duration_s, num_frames)
        windows.append([painter.paint(act.state_at(float(t)), 10.0 + float(t)) for t in times])
    return windows


def recorded_windows(folder: Path, count: int, num_frames: int) -> list[list[Image]]:
    """Windows out of a folder's pictures and recordings, evenly taken from all of them.

    Raises `ModelError` if there is none.
    """
    images = list(_images(folder))
    windows = [images[i : i + num_frames] for i in range(0, len(images), num_frames)]
    if not windows:
        kinds = ", ".join(sorted(PICTURES | RECORDINGS))
        raise ModelError(f"no pictures and no recordings to calibrate with in {folder} ({kinds})")
    chosen = np.linspace(0, len(windows) - 1, min(count, len(windows))).round().astype(int)
    return [windows[i] for i in chosen.tolist()]


def name_of(folder: Path) -> str:
    """Eight digits that change when a file in the folder does."""
    digest = hashlib.sha256()
    for path in _files(folder):
        status = path.stat()
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:8]


def papers_of(
    windows: Sequence[Sequence[Image]], tokens: Tokens, frame_size_px: int, tokens_per_frame: int
) -> list[Paper]:
    """Each window with questions and a request for words, a second between frames."""
    suffixes = [tokens.encode(question_suffix(QUESTIONS[kind][0])) for kind in ASKED]
    describe = tokens.encode(question_suffix(DESCRIBE_PROMPT))
    papers = []
    for i, window in enumerate(windows):
        times_s = [float(t) for t in range(len(window))]
        prefix = video_prefix(times_s, times_s[-1], tokens_per_frame)
        four = [suffixes[(i + k) % len(suffixes)] for k in range(4)]
        frames = preprocess(window, frame_size_px)
        papers.append(Paper(frames, tokens.encode(prefix), four, describe))
    return papers


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURES | RECORDINGS)


def _images(folder: Path) -> Iterator[Image]:
    """All pictures, and of recordings the keyframes: one a second or two with most cameras."""
    for path in _files(folder):
        if path.suffix.lower() in PICTURES:
            picture = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
            if picture is None:
                raise ModelError(
                    f"{path} is no picture that can be read; take it out of the folder"
                )
            yield np.asarray(picture, np.uint8)
            continue
        try:
            with av.open(str(path)) as container:
                container.streams.video[0].codec_context.skip_frame = "NONKEY"
                for frame in container.decode(video=0):
                    yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
        except (av.error.FFmpegError, IndexError) as error:
            raise ModelError(
                f"{path} cannot be read ({error}); take it out of the folder"
            ) from error
