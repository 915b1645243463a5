"""How is the way of an alert measured from the command line?

Knows arguments and the terminal; `daemon.bench_mqtt` measures.
"""

# ruff: noqa: PLC0415 - the measuring parts are only loaded when there is something to measure

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from pipelines.errors import SmolwatchError


def bench_mqtt(
    events: Annotated[int, typer.Option(min=50, max=100_000, help="how many, each way")] = 1000,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="one line of JSON")] = False,
) -> None:
    """Measure alerts from event to subscriber, stored before they are sent, against bare paho."""
    from daemon import bench_mqtt as bench
    from daemon import logs

    logs.setup(level="error")
    try:
        found = bench.bench_mqtt(events)
    except SmolwatchError as error:
        typer.echo(f"smolwatch: {error}", err=True)
        raise typer.Exit(1) from error
    ours, bare = found.smolwatch, found.bare
    ratios = {
        "p50": ours.p50_ms / bare.p50_ms,
        "p99": ours.p99_ms / bare.p99_ms,
        "events_per_s": ours.events_per_s / bare.events_per_s,
    }
    if as_json:
        typer.echo(json.dumps({**dataclasses.asdict(found), "ratios": ratios}))
        return
    typer.echo(f"broker: {found.broker}, on loopback; fsync of 1 KiB: {found.fsync_ms_p50:.2f} ms")
    typer.echo(f"{'':<24}{'p50 ms':>8}{'p99 ms':>8}{'events/s':>10}")
    for one, words in ((ours, "smolwatch, on the disk"), (bare, "paho, QoS 1, bare")):
        typer.echo(f"{words:<24}{one.p50_ms:>8.2f}{one.p99_ms:>8.2f}{one.events_per_s:>10.0f}")
    p50, p99, rate = ratios.values()
    typer.echo(f"{'ratio':<24}{p50:>8.2f}{p99:>8.2f}{rate:>10.2f}")
