"""What would transformers itself have done?

Runs its own prompt code, its own tokenizer and its own model on all frames at once: no cache, no
shared prefix, one question a call.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerFast, SmolVLMForConditionalGeneration
from transformers.models.smolvlm import processing_smolvlm
from transformers.utils.chat_template_utils import render_jinja_template
from transformers.video_utils import VideoMetadata


def reference_prompt(
    question: str,
    *,
    times_s: Sequence[float],
    duration_s: float,
    tokens_per_frame: int,
    says: Sequence[str] = (),
) -> str:
    """The chat template's text, with the processor's own words in place of pictures and video.

    `says`: of reference pictures, which stand before the video, text and pictures in turn.
    """
    content: list[dict[str, str]] = []
    for number, words in enumerate(says):
        text = f'Example of "{words}":'
        content.append({"type": "text", "text": text if number == 0 else f"\n{text}"})
        content.append({"type": "image"})
    if says:
        content.append({"type": "text", "text": "\n"})
    content += [{"type": "video"}, {"type": "text", "text": question}]
    conversation = [{"role": "user", "content": content}]
    rendered, _ = render_jinja_template(
        [conversation],
        chat_template=processing_smolvlm.DEFAULT_CHAT_TEMPLATE,
        add_generation_prompt=True,
    )
    # The constructor wants torchvision's video processor; the method needs four fields only.
    processor = object.__new__(processing_smolvlm.SmolVLMProcessor)
    processor.image_seq_len = tokens_per_frame
    processor.image_token = "<image>"
    processor.fake_image_token = "<fake_token_around_image>"
    processor.global_image_token = "<global-img>"
    fps = 1000.0
    metadata = VideoMetadata(
        total_num_frames=len(times_s),
        fps=fps,
        duration=duration_s,
        frames_indices=[round(time_s * fps) for time_s in times_s],
    )
    video = {"pixel_values": torch.empty(1, len(times_s)), "video_metadata": [metadata]}
    unsplit = {"rows": [[0] * len(says)], "cols": [[0] * len(says)]}
    first, *others = rendered[0].split("<image>")
    for number, after in enumerate(others):
        first += processor.replace_image_token(unsplit, number) + after
    return first.replace("<video>", processor.replace_video_token(video, video_idx=0))


def reference_text_prompt(task: str) -> str:
    """The chat template's text for a turn without pictures."""
    conversation = [{"role": "user", "content": [{"type": "text", "text": task}]}]
    rendered, _ = render_jinja_template(
        [conversation],
        chat_template=processing_smolvlm.DEFAULT_CHAT_TEMPLATE,
        add_generation_prompt=True,
    )
    return str(rendered[0])


def reference_ids(directory: Path, text: str) -> list[int]:
    """As the processor calls its tokenizer: with whatever that adds around the text."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_file(str(directory / "tokenizer.json"))
    )
    return list(tokenizer(text)["input_ids"])


class Reference:
    """The whole model in float32, called as transformers' documentation does."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.module = SmolVLMForConditionalGeneration.from_pretrained(
            directory, dtype=torch.float32, local_files_only=True
        ).eval()

    @torch.inference_mode()
    def first_logits(self, prompt: str, pixels: Tensor) -> Tensor:
        """[vocabulary] of the answer's first token; `pixels` [N, 3, S, S]."""
        ids = torch.tensor([reference_ids(self.directory, prompt)])
        return self.module(input_ids=ids, pixel_values=pixels[None]).logits[0, -1]

    @torch.inference_mode()
    def generate(
        self, prompt: str, pixels: Tensor | None, max_tokens: int, end_id: int
    ) -> list[int]:
        """Greedy tokens of the answer."""
        ids = torch.tensor([reference_ids(self.directory, prompt)])
        seen = {} if pixels is None else {"pixel_values": pixels[None]}
        generated = self.module.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            **seen,
            max_new_tokens=max_tokens,
            do_sample=False,
            eos_token_id=end_id,
            pad_token_id=end_id,
        )
        return [token for token in generated[0, ids.shape[1] :].tolist() if token != end_id]
