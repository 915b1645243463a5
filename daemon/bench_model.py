"""How fast is the model on this machine, against the naive way in the same run?

Knows processes and rows; no model and no terminal. Ours and the baseline run one after the other,
each in a process of its own, and each process has a time limit.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from daemon.bench_rows import (
    MAIN,
    Capacity,
    Measured,
    Naive,
    Roofline,
    Scenario,
    Setting,
    capacity,
    row,
    scenarios,
)
from pipelines.errors import SmolwatchError
from pipelines.smolvlm2.presets import PRESETS, find_checkpoint

CHILD = "daemon.bench_child"


class BenchError(SmolwatchError):
    """A benchmark that could not be run, or not to its end."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The command's options."""

    model: str = "bundled"
    random_weights: bool = False
    engine: str = "auto"
    precision: str = "auto"
    device: str = "auto"
    threads: int = 1
    cameras: int = 1
    baseline: bool = False
    runs: int = 5
    seconds: float = 30.0  # for one scenario
    limit_s: float = 900.0  # for one process


@dataclass(frozen=True, slots=True)
class Loaded:
    """What ours is, before the first window."""

    setting: Setting
    naive: Naive | None
    load_s: float
    imports_mb: int  # of our process before there was a model


@dataclass(frozen=True, slots=True)
class Limits:
    """What the machine can do, and for how many cameras that is enough."""

    roofline: Roofline
    capacities: tuple[Capacity, ...]


STRIDES_S = (1.0, 2.0, 5.0)
Told = Loaded | Measured | Limits


def bench_model(wanted: Wanted) -> Generator[Told, None, None]:
    """Run everything; tell each thing when it is known: `MAIN` last, `Limits` before it.

    Raises `BenchError` and `ModelError`; Ctrl+C ends the processes too.
    """
    with contextlib.ExitStack() as stack:
        directory = checkpoint_of(wanted, stack)
        asked = scenarios(wanted.cameras)
        naive = None
        if wanted.baseline:
            naive = _naive(list(run_child(wanted, "naive", directory, asked)))
        measured: list[Measured] = []
        for line in run_child(wanted, "ours", directory, asked):
            if "measured" in line:
                measured.append(_measured(line["measured"]))
                if measured[-1].scenario != MAIN:
                    yield measured[-1]
            elif "roofline" in line:
                limits = Roofline(**line["roofline"])
                yield Limits(limits, tuple(capacity(measured, s) for s in STRIDES_S))
                yield measured[-1]
            else:
                yield _loaded(wanted, naive, line)


def _loaded(wanted: Wanted, naive: Naive | None, line: Mapping[str, Any]) -> Loaded:
    name = wanted.model + (" (random weights)" if wanted.random_weights else "")
    keys = ("engine", "precision", "device", "threads")
    setting = Setting(name, **{key: line[key] for key in keys})
    return Loaded(setting, naive, line["load_s"], line["imports_mb"])


def as_line(told: Told, loaded: Loaded) -> dict[str, Any]:
    """One line of `--json`."""
    if isinstance(told, Measured):
        return row(loaded.setting, told, loaded.naive)
    if isinstance(told, Loaded):
        return {"load": {"load_s": round(told.load_s, 2), "imports_mb": told.imports_mb}}
    served = [asdict(one) for one in told.capacities]
    return told.roofline.line(loaded.setting.precision) | {"capacity": served}


def check_model(wanted: Wanted) -> None:
    """Raise what `checkpoint_of` would, before minutes are spent on another model. May fetch."""
    if not wanted.random_weights:
        find_checkpoint(wanted.model)
    elif wanted.model not in PRESETS:
        raise BenchError(
            f"--random-weights makes a model of a published size: --model {', '.join(PRESETS)}, "
            f"not {wanted.model!r}"
        )


def checkpoint_of(wanted: Wanted, stack: contextlib.ExitStack) -> Path:
    """The model's directory; of random weights, one that goes when `stack` is closed.

    Raises `BenchError` and `ModelError`.
    """
    check_model(wanted)
    if not wanted.random_weights:
        return find_checkpoint(wanted.model)[0]
    import torch  # noqa: PLC0415 - seconds, which `--help` should not take

    from pipelines.smolvlm2.random_weights import write_random_checkpoint  # noqa: PLC0415

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="smolwatch-bench-")))
    # The largest one as bfloat16, to spare 4.5 GB of disk: what runs is loaded as asked for.
    dtype = torch.bfloat16 if wanted.model.endswith("2.2b") else torch.float32
    return write_random_checkpoint(folder / wanted.model, wanted.model, dtype=dtype)


def run_child(
    wanted: Wanted, role: str, directory: Path, asked: list[Scenario]
) -> Iterator[dict[str, Any]]:
    """What one process says, line by line. It is killed at its limit, and when nobody reads on."""
    task = {
        "role": role, "directory": str(directory), "engine": wanted.engine,
        "precision": wanted.precision, "device": _device(wanted, role), "threads": wanted.threads,
        "scenarios": [asdict(scenario) for scenario in asked],
        "runs": wanted.runs, "seconds": wanted.seconds,
    }  # fmt: skip
    environ = dict(os.environ)
    if wanted.random_weights:  # what is converted for a scratch checkpoint goes with it
        environ["CACHE_DIRECTORY"] = str(directory.parent / "cache")
    with tempfile.TemporaryFile("w+") as complaints, subprocess.Popen(  # noqa: S603 - our module
        [sys.executable, "-m", CHILD, json.dumps(task)], env=environ,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, text=True,
    ) as child:  # fmt: skip
        limit = threading.Timer(wanted.limit_s, child.kill)
        limit.daemon = True  # who is interrupted before `try` must not wait for it
        try:
            limit.start()
            assert child.stdout is not None  # noqa: S101 - a pipe, as asked for
            for line in child.stdout:
                yield json.loads(line)
            code = child.wait()
        finally:
            limit.cancel()
            child.kill()
        if code == -signal.SIGKILL:
            raise BenchError(
                f"{role}: not done after {wanted.limit_s:g} s, or out of memory; allow more with "
                "--limit-s, or ask for less with --runs and --cameras"
            )
        complaints.seek(0)
        said = complaints.read()
        if code:
            last = (said.strip().splitlines() or [f"ended with code {code}"])[-1]
            raise BenchError(f"{role}: {last}")
        sys.stderr.write(said)  # its warnings: that an engine was refused, and another one ran


def _device(wanted: Wanted, role: str) -> str:
    """Both run on the same: OpenVINO left to itself takes the CPU, PyTorch a GPU that is there."""
    if role == "naive" and wanted.device == "auto" and wanted.engine == "openvino":
        return "cpu"
    return wanted.device


def _naive(told: list[dict[str, Any]]) -> Naive:
    return Naive(
        {line["new_tokens"]: line["call_ms"] for line in told},
        max(line["peak_rss_mb"] for line in told),
    )


def _measured(fields: Mapping[str, Any]) -> Measured:
    return Measured(**{**fields, "scenario": Scenario(**fields["scenario"])})
