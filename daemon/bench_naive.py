"""How would somebody run SmolVLM2 over sliding windows with transformers alone?

Knows nothing of smolwatch's engines: one `generate` call a window on all eight frames, one
question, in the number format of the documentation's examples: float32 on a CPU, bfloat16 on a
GPU. The processor's own steps (resize, prompt, tokens) are part of the time.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from pipelines.smolvlm2.device import choose_device
from pipelines.smolvlm2.preprocess import preprocess
from pipelines.smolvlm2.prompt import (
    picture_suffix,
    pictures_prefix,
    question_suffix,
    video_prefix,
)
from pipelines.smolvlm2.tokens import Tokens
from pipelines.types import Window


class NaiveModel:
    """transformers' model, and its processor's steps.

    The processor's video path needs torchvision, which smolwatch does without: its steps are done
    by `preprocess` and `prompt`, which tests hold to it.
    """

    def __init__(self, directory: Path, device: str, threads: int) -> None:
        """Load as the documentation does."""
        torch.set_num_threads(threads)
        self._device = choose_device(device)
        dtype = torch.float32 if self._device.type == "cpu" else torch.bfloat16
        model: Any = AutoModelForImageTextToText.from_pretrained(
            directory, dtype=dtype, local_files_only=True
        )
        self._model = model.eval().to(self._device)
        self._dtype = dtype
        self._tokens = Tokens.from_file(directory / "tokenizer.json")
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        self._of_time = config["model_type"] == "smolvlm"
        self.frame_edge_px: int = config["vision_config"]["image_size"]
        side = self.frame_edge_px // config["vision_config"]["patch_size"]
        self._tokens_per_frame = (side // config["scale_factor"]) ** 2

    @torch.inference_mode()
    def ask(self, window: Window, question: str, new_tokens: int) -> int:
        """One call; how many tokens came of it (fewer than asked for if the model ended)."""
        pixels = preprocess([frame.image for frame in window.frames], self.frame_edge_px)
        scaled = pixels.float().div_(127.5).sub_(1.0)[None]  # [1, N, 3, S, S]
        ids = torch.tensor([self._tokens.encode(self._text(window, question))])
        made = self._model.generate(
            input_ids=ids.to(self._device),
            attention_mask=torch.ones_like(ids).to(self._device),
            pixel_values=scaled.to(self._device, self._dtype),
            pixel_attention_mask=torch.ones(scaled.shape[:2] + scaled.shape[3:]).to(self._device),
            max_new_tokens=new_tokens,
            do_sample=False,
            eos_token_id=self._tokens.end_id,
            pad_token_id=self._tokens.end_id,
        )
        return int(made.shape[1]) - ids.shape[1]

    def _text(self, window: Window, question: str) -> str:
        if not self._of_time:
            grids = [(0, 0)] * len(window.frames)
            return pictures_prefix(grids, self._tokens_per_frame) + picture_suffix(question)
        times_s = [frame.captured_s - window.start_s for frame in window.frames]
        text = video_prefix(times_s, window.duration_s, self._tokens_per_frame)
        return text + question_suffix(question)
