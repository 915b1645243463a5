"""How many windows a second does one GPU look at, and how soon is one camera answered?

    python -m tests.bench.bench_cuda 256m 500m 2.2b

Checkpoints of the published sizes with random weights are written, and run through the same path as
the real ones. Naive is transformers' `generate` in bfloat16, one window at a time: 8 frames, one
question, with pixels that lie on the GPU already. One JSON line a size.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import SmolVLMForConditionalGeneration

from daemon.bench_products import product_rates
from pipelines.smolvlm2.cuda_engine import FRAMES_AT_ONCE, CudaEngine
from pipelines.smolvlm2.loading import from_name
from pipelines.smolvlm2.model import SmolVLM2
from pipelines.smolvlm2.prompt import DESCRIBE_PROMPT, question_suffix, video_prefix
from pipelines.smolvlm2.random_weights import write_random_checkpoint
from pipelines.smolvlm2.tokens import Tokens
from pipelines.types import Frame, Look, Observation, Window

QUESTIONS = (
    "Did a person leave?",
    "Is a car parked?",
    "Is there a package?",
    "Did a person arrive?",
)
CAMERAS, NUM_FRAMES, WORDS = 64, 8, 32


def main() -> None:
    rate = product_rates("cuda", "bf16", [])["bf16"] / 1e3
    say({"device": torch.cuda.get_device_name(), "matrix_tflops": round(rate)})
    for size in sys.argv[1:] or ["256m"]:
        with tempfile.TemporaryDirectory() as folder:
            directory = write_random_checkpoint(Path(folder), size, dtype=torch.bfloat16)
            line = {"model": size, **naive(directory)}
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            line |= ours(directory, rate)
        line["ratio"] = round(line["windows_per_s"] * line["naive_ms"] / 1e3, 1)
        say(line)
        torch.cuda.empty_cache()


def say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def median_ms(run: Callable[[], object], times: int, warm: int = 3) -> float:
    spent: list[float] = []
    for number in range(warm + times):
        torch.cuda.synchronize()
        began_s = time.perf_counter()
        run()
        torch.cuda.synchronize()
        if number >= warm:
            spent.append((time.perf_counter() - began_s) * 1e3)
    return round(statistics.median(spent), 2)


@torch.inference_mode()
def naive(directory: Path) -> dict[str, Any]:
    module: Any = SmolVLMForConditionalGeneration.from_pretrained(
        directory, dtype=torch.bfloat16, attn_implementation="sdpa"
    )
    module = module.eval().to("cuda")
    edge_px = module.config.vision_config.image_size
    side = edge_px // module.config.vision_config.patch_size // module.config.scale_factor
    text = video_prefix(range(NUM_FRAMES), NUM_FRAMES - 1.0, side**2)
    tokens = Tokens.from_file(directory / "tokenizer.json")
    ids = torch.tensor([tokens.encode(text + question_suffix(QUESTIONS[0]))], device="cuda")
    shape = (1, NUM_FRAMES, 3, edge_px, edge_px)
    pixels = torch.randn(shape, device="cuda", dtype=torch.bfloat16)

    def generate(new_tokens: int) -> None:
        module.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=pixels,
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=0,
        )

    return {
        "prompt_tokens": ids.shape[1],
        "naive_ms": median_ms(lambda: generate(1), 10),
        "naive_words_ms": median_ms(lambda: generate(WORDS), 3, warm=1),
    }


def ours(directory: Path, rate: float) -> dict[str, Any]:
    began_s = time.perf_counter()
    model = from_name(directory, device="cuda", max_description_tokens=WORDS)
    engine: Any = model._engine
    assert isinstance(engine, CudaEngine)
    engine._end_id = -1  # random weights may say it at once: all words are to be made
    loaded_s = time.perf_counter()
    cameras = [windows_of(f"camera{i}", model.frame_edge_px) for i in range(CAMERAS)]
    look(model, cameras[:1], None)
    first_s = time.perf_counter()
    line: dict[str, Any] = {
        "load_s": round(loaded_s - began_s, 1),
        "first_window_s": round(first_s - loaded_s, 1),
        "one_camera_ms": median_ms(lambda: look(model, cameras[:1], None), 20),
    }
    silent = median_ms(lambda: look(model, cameras[:1], None, ()), 10)
    line["words_ms"] = median_ms(lambda: look(model, cameras[:1], DESCRIBE_PROMPT, ()), 10)
    line["word_ms"] = round((line["words_ms"] - silent) / WORDS, 3)
    line["words_of_16_ms"] = median_ms(lambda: look(model, cameras[:16], DESCRIBE_PROMPT, ()), 5)
    for count in (4, 16, CAMERAS):
        round_ms = median_ms(lambda n=count: look(model, cameras[:n], None), 15)
        line[f"windows_per_s_{count}"] = round(count / round_ms * 1e3)
    line["windows_per_s"] = line.pop(f"windows_per_s_{CAMERAS}")
    line["round_ms"] = round_ms
    cold = [windows_of(f"cold{i}", model.frame_edge_px, NUM_FRAMES) for i in range(CAMERAS)]
    cold_ms = median_ms(lambda: look(model, cold, None), 5, warm=1)
    line["windows_per_s_all_frames_new"] = round(CAMERAS / cold_ms * 1e3)
    frames_ms = median_ms(engine._calls.frames(FRAMES_AT_ONCE).start, 20)
    line["encoder_frames_per_s"] = round(FRAMES_AT_ONCE / frames_ms * 1e3)
    tflops = FRAMES_AT_ONCE * frame_flop(engine) / frames_ms / 1e9
    line["encoder_share"] = round(tflops / rate, 3)
    line["peak_gpu_mb"] = round(torch.cuda.max_memory_allocated() / 1e6)
    line["reserved_gpu_mb"] = round(torch.cuda.max_memory_reserved() / 1e6)
    line["weights_mb"] = round((directory / "model.safetensors").stat().st_size / 1e6)
    return line


def look(
    model: SmolVLM2,
    cameras: list[Iterator[Window]],
    prompt: str | None,
    questions: tuple[str, ...] = QUESTIONS,
) -> None:
    seen = model.observe_many([Look(next(camera), questions, prompt) for camera in cameras])
    assert all(isinstance(one, Observation) for one in seen), seen[0]


def windows_of(camera: str, edge_px: int, new_frames: int = 1) -> Iterator[Window]:
    """Windows of 8 frames of noise, `new_frames` of them new in each."""
    noise = np.random.default_rng(sum(camera.encode())).integers(
        0, 255, (2, edge_px * 9 // 16, edge_px, 3), dtype=np.uint8
    )
    for seq in itertools.count():
        numbers = range(seq * new_frames, seq * new_frames + NUM_FRAMES)
        frames = tuple(Frame(camera, 0, n, n, n, noise[n % 2], 0.0) for n in numbers)
        start_s, end_s = frames[0].captured_s, frames[-1].captured_s
        yield Window(camera, seq, frames, start_s, end_s, "stride", end_s)


def frame_flop(engine: CudaEngine) -> int:
    """Multiplications and additions for a frame: matrix products and attention."""
    vision = engine._vision
    tokens, block, hidden = vision.side**2, vision.blocks[0], vision.norm.numel()
    layer = 2 * tokens * sum(m.numel() for m in (block.qkv, block.out, block.up, block.down))
    layer += 4 * tokens * tokens * hidden
    around = 2 * tokens * vision.patch.numel()
    around += 2 * engine.tokens_per_frame * vision.project.numel()
    return len(vision.blocks) * layer + around


if __name__ == "__main__":
    main()
