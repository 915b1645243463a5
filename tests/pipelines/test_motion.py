"""Is movement told from noise and from light?"""

from __future__ import annotations

import cv2
import numpy as np

from pipelines.motion import MotionMeter
from pipelines.types import Image

SIZE = (216, 384)
STILL = 0.002  # a fifth of the default threshold of a gate


def scene() -> Image:
    """A textured picture, without its edges at black or white."""
    rough = np.random.default_rng(1).uniform(60, 180, (12, 20, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(rough, SIZE[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def noisy(image: Image, seed: int, sigma: float = 10.0) -> Image:
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def with_box(image: Image, left_px: int) -> Image:
    changed = image.copy()
    changed[80:140, left_px : left_px + 50] = (250, 250, 250)
    return changed


def test_the_first_frame_has_nothing_to_move_from() -> None:
    assert MotionMeter().score(scene()) == 0.0


def test_sensor_noise_is_no_motion() -> None:
    meter = MotionMeter()
    scores = [meter.score(noisy(scene(), seed)) for seed in range(20)]
    assert max(scores) < STILL


def test_a_lamp_switched_on_is_no_motion() -> None:
    meter = MotionMeter()
    for seed in range(5):
        meter.score(noisy(scene(), seed, 3.0))
    brighter = cv2.add(scene(), (40, 40, 40, 0)).astype(np.uint8)
    assert meter.score(noisy(brighter, 9, 3.0)) < STILL


def test_a_moving_box_scores_about_its_share_of_the_picture() -> None:
    meter = MotionMeter()
    for seed in range(5):
        meter.score(noisy(scene(), seed, 3.0))
    share = 60 * 50 / (SIZE[0] * SIZE[1])
    entered = meter.score(with_box(scene(), 40))
    moved = meter.score(with_box(scene(), 140))
    assert 0.5 * share < entered < 2 * share
    assert 0.5 * share < moved < 2.5 * share


def test_what_has_come_to_rest_stops_being_motion() -> None:
    meter = MotionMeter()
    for _ in range(5):
        meter.score(scene())
    assert meter.score(with_box(scene(), 40)) > STILL
    assert meter.score(with_box(scene(), 40)) == 0.0


def test_another_resolution_starts_afresh() -> None:
    meter = MotionMeter()
    meter.score(scene())
    assert meter.score(np.zeros((100, 60, 3), np.uint8)) == 0.0
