"""How fast does this machine multiply matrices, at its best?

Knows PyTorch and the shapes it is given; no model. A limit that is too low makes a share look
good, so several shapes and ways are tried and the fastest counts. On a CPU they are those of the
model: in float32 1024x768x768 reached 92 GFLOP/s on a shared core, a square one of 2048 only 54: a
product of 13 ms is now and then left alone by other work, one of 300 ms is not. A GPU needs large
ones: an H200 gave 481 TFLOP/s at an edge of 2048 and 785 at 8192, in bfloat16.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.smolvlm2.cpu_linear import PackedLinear, packs_bf16
from pipelines.smolvlm2.device import OPENVINO_DEVICES

Shape = tuple[int, int, int]  # rows, in, out: rows x in times in x out

_CPU_S: Final = 0.5  # for one way of one shape
_GPU_S: Final = 0.5
_GPU_EDGES: Final = (8192, 4096, 2048)  # the first for which there is memory: 0.4 GB in bfloat16
_BETWEEN_EVENTS_S: Final = 0.02  # so that starting the products is no part of it


def product_rates(
    name: str, precision: str, shapes: Iterable[Shape], cpu_s: float = _CPU_S
) -> dict[str, float]:
    """Best rates of matrix products in GFLOP/s: float32, and the format that ran.

    PyTorch's, so none for int8, and the CPU's for devices that only OpenVINO knows. A format is
    left out where it could not be measured. `shapes`: of the CPU's products, each of which is
    tried for `cpu_s` seconds in each way.
    """
    device = torch.device("cpu" if name in OPENVINO_DEVICES else name)
    kinds = {"f32": torch.float32}
    if precision == "bf16":
        kinds["bf16"] = torch.bfloat16
    rates: dict[str, float] = {}
    with torch.inference_mode():
        for kind, dtype in kinds.items():
            if device.type == "cuda":
                rate = _on_gpu(device, dtype)
            elif device.type == "cpu":
                rate = _on_cpu(dtype, shapes, cpu_s)
            else:  # nobody has looked how to wait for it
                continue
            if rate is not None:
                rates[kind] = rate
    return rates


def shapes_of(config: dict[str, Any], tokens: int) -> list[Shape]:
    """The products of one frame and of a prompt of so many tokens, and a square, small ones first.

    `config`: a checkpoint's config.json.
    """
    vision, text = config["vision_config"], config["text_config"]
    patches = (vision["image_size"] // vision["patch_size"]) ** 2
    found: list[Shape] = [(2048, 2048, 2048)]
    for rows, hidden, mlp in (
        (patches, vision["hidden_size"], vision.get("intermediate_size", 3072)),
        (tokens, text["hidden_size"], text["intermediate_size"]),
    ):
        found += [(rows, hidden, hidden), (rows, hidden, mlp), (rows, mlp, hidden)]
    return sorted(found, key=math.prod)


def _on_cpu(dtype: torch.dtype, shapes: Iterable[Shape], cpu_s: float) -> float | None:
    """GFLOP/s of the fastest. A processor without bfloat16 takes seconds a product: few, then."""
    best = None
    most_s = 0.0
    began_s = time.perf_counter()
    for shape in shapes:
        for way in _ways(dtype, shape):
            most_s += 2 * cpu_s
            if best is not None and time.perf_counter() - began_s > most_s:
                return best
            best = max(best or 0.0, 2 * math.prod(shape) / _least_s(way, cpu_s) / 1e9)
    return best


def _ways(dtype: torch.dtype, shape: Shape) -> Iterator[Callable[[], Tensor]]:
    """What PyTorch offers for one product. In float32 it differs by a third which is fastest."""
    rows, wide, out = shape
    x = torch.randn(rows, wide).to(dtype)
    weight = torch.randn(out, wide).to(dtype)
    turned = weight.T.contiguous()
    into = torch.empty(rows, out, dtype=dtype)
    if dtype == torch.bfloat16 and packs_bf16():
        packed = PackedLinear(weight, None, rows)
        yield lambda: packed(x)
    yield lambda: torch.mm(x, turned, out=into)
    yield lambda: functional.linear(x, weight)


def _least_s(way: Callable[[], Tensor], cpu_s: float) -> float:
    least_s = math.inf
    until_s = time.perf_counter() + cpu_s
    while True:
        began_s = time.perf_counter()
        way()
        ended_s = time.perf_counter()
        least_s = min(least_s, ended_s - began_s)
        if ended_s >= until_s:
            return max(least_s, 1e-9)


def _on_gpu(device: torch.device, dtype: torch.dtype) -> float | None:
    """GFLOP/s of the largest square for which there is memory; None where no product runs."""
    for edge in _GPU_EDGES:
        try:
            with torch.cuda.device(device):
                a = torch.randn(edge, edge, device=device).to(dtype)
                b = torch.randn(edge, edge, device=device).to(dtype)
                least_s = _least_gpu_s(a, b, torch.empty_like(a))
        except RuntimeError:  # PyTorch's and cuBLAS' own, out of memory among them
            continue
        return 2 * edge**3 / least_s / 1e9
    return None


def _least_gpu_s(a: Tensor, b: Tensor, into: Tensor) -> float:
    """Seconds of one of many products that are sent together, the best of some such rows."""
    began, ended = _event(), _event()
    count, least_s = 1, math.inf
    until_s = time.perf_counter() + _GPU_S
    for number in range(1000):
        began.record()
        for _ in range(count):
            torch.mm(a, b, out=into)
        ended.record()
        ended.synchronize()
        one_s = max(began.elapsed_time(ended) / 1e3 / count, 1e-9)
        if number > 0:  # the first chooses a kernel, and loads it
            least_s = min(least_s, one_s)
            if time.perf_counter() >= until_s:
                break
        count = max(1, min(100, round(_BETWEEN_EVENTS_S / one_s)))
    return least_s


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
