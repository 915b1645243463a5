"""How are the figures told to programs?

Knows figures and JSON; no part of the daemon. What `smolwatch top`, `/api/status` and
`/api/cameras` show. Keys may be added; none changes its meaning.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any

from daemon.figures import CameraFigures, Figures, Gauges, not_ready, problem_of
from daemon.mqtt.payloads import iso_utc
from daemon.redact import mask_urls

Json = dict[str, Any]


def overview_answers(gauges: Gauges) -> dict[str, Callable[[Json], Iterator[Json]]]:
    """What answers the operation `top` of `daemon.control`."""

    def top(_: Json) -> Iterator[Json]:
        yield status_content(gauges.read())

    return {"top": top}


def status_content(figures: Figures) -> Json:
    """All of it."""
    link = figures.link
    problem = problem_of(figures)
    return {
        "ts": iso_utc(figures.wall_time),
        "version": figures.version,
        "uptime_s": round(figures.uptime_s, 1),
        "model": {
            "id": figures.model_id,
            "state": mask_urls(str(figures.model)),
            "batches": figures.batches,
            "busy_s": round(figures.busy_s, 1),
        },
        "ready": not not_ready(figures),
        "problem": None if problem is None else mask_urls(problem),
        "events": figures.events,
        "threads": figures.threads,
        "memory_bytes": figures.memory_bytes,
        "requests": {
            **{key: figures.requests.get(key, 0) for key in ("answered", "failed", "refused")},
            "waiting": figures.requests_waiting,
        },
        "broker": None
        if link is None
        else {
            "connected": link.connected,
            "pending": link.pending,
            "oldest_s": round(link.oldest_s, 1),
            "published": link.published,
            "refused": link.refused,
            "dead_letters": link.dead_letters,
            "dropped": link.dropped,
            "in_memory": link.in_memory,
            "publish_ms_p50": _rounded(link.publish_ms_p50, 1),
        },
        "store": None
        if figures.store_bytes is None
        else {"bytes": figures.store_bytes, "lost": figures.store_lost},
        "media": None if figures.media is None else dict(figures.media),
        "disks": {
            name: {"free_bytes": disk.free_bytes, "size_bytes": disk.size_bytes}
            for name, disk in figures.disks.items()
        },
        "cameras": cameras_content(figures),
    }


def cameras_content(figures: Figures) -> list[Json]:
    """The cameras, in the order of the configuration."""
    return [_camera(name, camera) for name, camera in figures.cameras.items()]


def _camera(name: str, camera: CameraFigures) -> Json:
    health, windows, latencies = camera.health, camera.windows, camera.latencies_ms
    return {
        "camera": name,
        "source": health.url,  # masked
        "state": health.state,
        "problem": None if health.message is None else mask_urls(health.message),
        "cause": health.cause,
        "width_px": health.width_px,
        "height_px": health.height_px,
        "fps_in": round(health.fps_in, 2),
        "fps_sampled": round(health.fps_sampled, 2),
        "frame_age_s": _rounded(health.frame_age_s, 2),
        "lag_s": _rounded(health.lag_s, 2),
        "frames_damaged": health.frames_damaged,
        "frames_dropped": camera.frames_dropped,
        "reconnects": dict(health.reconnects),
        "windows": {
            "run": windows.ran,
            "failed": windows.failed,
            "busy": windows.skipped,
            "quiet": windows.gated,
            "waiting": windows.waiting,
        },
        "blind_pct": round(100 * windows.blind_share, 2),
        "blind_recent_pct": round(100 * windows.blind_share_recent, 2),
        "latency_ms_p50": _rounded(statistics.median(latencies) if latencies else None, 1),
        "latency_ms_max": _rounded(max(latencies, default=None), 1),
        "rules": [
            {"rule": rule.name, "armed": rule.armed, "on_s": _rounded(rule.on_s, 1)}
            for rule in camera.rules
        ],
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
