"""How much memory does each size take, by engine and number format?

    python -m tests.bench.bench_memory 256m 500m --ways torch:f32 torch:bf16 openvino:bf16

Each way is a process of its own over a checkpoint of random weights. OpenVINO starts twice:
converting, in a child whose peak is told too, and as on every later day. Two JSON lines a process:
which, and what, in 10^6 bytes. A processor that multiplies bfloat16 at a hundredth of the speed
only loads it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from daemon.bench_child import QUESTIONS, peak_rss_mb, stream
from pipelines.smolvlm2 import exam
from pipelines.smolvlm2.cache_dir import cache_dir
from pipelines.smolvlm2.device import cpu_multiplies_bf16, read_cpuinfo
from pipelines.smolvlm2.loading import from_name
from pipelines.smolvlm2.prompt import DESCRIBE_PROMPT
from pipelines.smolvlm2.random_weights import write_random_checkpoint

WAYS = ("torch:f32", "torch:bf16", "openvino:f32", "openvino:bf16", "openvino:int8")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("sizes", nargs="*", default=["256m"])
    parser.add_argument("--ways", nargs="+", default=WAYS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)  # the process of one way
    wanted = parser.parse_args()
    if wanted.one is not None:
        directory, way, threads = wanted.one
        print(json.dumps(measure(Path(directory), way, int(threads))))  # noqa: T201
        return
    for size in wanted.sizes:
        with tempfile.TemporaryDirectory(prefix="smolwatch-bench-") as folder:
            # As bfloat16 the largest takes half the disk; loading turns it into what is asked for.
            dtype = torch.bfloat16 if size.endswith("2.2b") else torch.float32
            directory = write_random_checkpoint(Path(folder) / size, size, dtype=dtype)
            for way in wanted.ways:
                for start in ("converting", "later") if way.startswith("openvino") else ("any",):
                    say({"model": size, "way": way, "start": start})
                    found = in_a_process(directory, way, wanted.threads)
                    if start != "converting":
                        found.pop("converter_peak_mb", None)
                    say(found)


def in_a_process(directory: Path, way: str, threads: int) -> dict[str, Any]:
    one = ["--one", str(directory), way, str(threads)]
    environ = os.environ | {"CACHE_DIRECTORY": str(directory.parent / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.bench_memory", *one],
        env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"]
        return {"failed": said[-1]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(directory: Path, way: str, threads: int) -> dict[str, Any]:
    """Peak and present memory, before the model, loaded, and after a window with words."""
    engine, precision = way.split(":")
    exam.require = _let_pass  # int8 of noise may fail: of the 500M its p_yes is 0.22 off, not 0.20
    line: dict[str, Any] = {"imports_mb": peak_rss_mb()}
    began_s = time.perf_counter()
    model = from_name(
        directory,
        engine=engine,  # type: ignore[arg-type]
        precision=precision,  # type: ignore[arg-type]
        device="cpu",
        num_threads=threads,
        max_description_tokens=4,
    )
    line["load_s"] = round(time.perf_counter() - began_s, 1)
    line |= {"loaded_peak_mb": peak_rss_mb(), "loaded_mb": rss_mb(), "of_it_files_mb": file_mb()}
    if engine == "openvino":
        converter = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        line["converter_peak_mb"] = converter * 1024 // 1_000_000
    line["weights_mb"] = weights_mb(directory, engine, precision)
    if precision != "bf16" or cpu_multiplies_bf16(read_cpuinfo()):
        windows = stream("porch", model.frame_edge_px, 1)
        for _ in range(2):
            model.observe(next(windows), QUESTIONS[:4], DESCRIBE_PROMPT)
        line |= {"peak_mb": peak_rss_mb(), "after_mb": rss_mb()}
    return line


def _let_pass(*_: object) -> None:
    pass


def weights_mb(directory: Path, engine: str, precision: str) -> int:
    """What the weights are in the format that runs; of int8, with what stays in another one."""
    if precision == "int8":
        made = (cache_dir(os.environ) / engine).rglob("*.bin")
        return sum(path.stat().st_size for path in made if "int8" in str(path)) // 1_000_000
    with safe_open(directory / "model.safetensors", framework="pt") as tensors:
        numbers = sum(math.prod(tensors.get_slice(k).get_shape()) for k in tensors.keys())  # noqa: SIM118
    return numbers * (2 if precision == "bf16" else 4) // 1_000_000


def rss_mb() -> int:
    return status_mb("VmRSS:")


def file_mb() -> int:
    """Of it, pages of mapped files, which the system may take back."""
    return status_mb("RssFile:")


def status_mb(key: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024 // 1_000_000
    return 0


def say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
