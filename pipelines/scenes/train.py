"""How is the bundled model trained?

    python -m pipelines.scenes.train --out DIR [--clips 90000] [--steps 6000]

Knows nothing of the daemon. On one H200: 6 minutes of drawing on 16 cores, 8 of training. Steps
are counted, not seconds, so the same seed gives the same schedule anywhere. First the vision tower
alone learns what each patch shows, from the renderer's own masks (without this the joint training
stays at chance for longer than all of it takes); then everything together, with that loss kept at
a small weight.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
import threading
import time
from pathlib import Path
from queue import Queue

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import SmolVLMForConditionalGeneration

from pipelines.scenes.architecture import FRAME_PX, VISION_WIDTH, build_model, save_model
from pipelines.scenes.dataset import Batch, Clips, IntArray, Packer, write_clips
from pipelines.scenes.tokenizer import train_tokenizer

BATCH = 192
LEARNING_RATE = 1e-3
PATCH_STEPS = 600  # of the vision tower alone
PATCH_WEIGHT = 0.3  # of its loss, afterwards
WARM_UP_STEPS = 200


class Trainee(nn.Module):
    """The model and the patch classifier that trains with it and is thrown away."""

    def __init__(self, model: SmolVLMForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        self.patch_head = nn.Linear(VISION_WIDTH, 5)

    def see(self, pixels: Tensor) -> Tensor:
        """[N, 3, 128, 128] in [-1, 1] to patch features [N, 256, width].

        The vision model's own forward, without its loop over pictures for position ids, which are
        simply 0..255 for square frames.
        """
        vision = self.model.model.vision_model
        patches = vision.embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
        x = patches + vision.embeddings.position_embedding.weight
        features: Tensor = vision.post_layernorm(vision.encoder(inputs_embeds=x).last_hidden_state)
        return features

    def read(self, visual: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Features [B*8, 256, width] and packed rows to hidden states [B, T, hidden]."""
        features = self.model.model.connector(visual)  # [B*8, 16, hidden]
        rows = batch["ids"].shape[0]
        features = features.reshape(rows, -1, features.shape[-1])  # [B, 128, hidden]
        text = self.model.model.text_model
        embeds = text.get_input_embeddings()(batch["ids"])
        index = batch["feature"].clamp(min=0)[..., None].expand(-1, -1, features.shape[-1])
        seen = torch.gather(features, 1, index).to(embeds.dtype)
        embeds = torch.where((batch["feature"] >= 0)[..., None], seen, embeds)
        hidden: Tensor = text(
            inputs_embeds=embeds,
            attention_mask=attention_mask(batch["segment"]),
            position_ids=batch["position"],
            use_cache=False,
        ).last_hidden_state
        return hidden


def attention_mask(segment: Tensor) -> Tensor:
    """[B, T] segments to [B, 1, T, T], True where a token may look."""
    size = segment.shape[1]
    causal = torch.ones(size, size, dtype=torch.bool, device=segment.device).tril()
    query, key = segment[:, :, None], segment[:, None, :]
    own = torch.eye(size, dtype=torch.bool, device=segment.device)  # padding sees itself: no NaN
    return ((causal & ((key == query) | (key == 0))) | own)[:, None]


def to_pixels(frames: Tensor, *, augment: bool) -> Tensor:
    """uint8 [N, 72, 128, 3] to [N, 3, 128, 128] in [-1, 1], the light varied where asked."""
    x = frames.permute(0, 3, 1, 2).float()
    if augment:
        per_clip = (x.shape[0] // 8, 1, 1, 1, 1)
        gain = torch.empty(per_clip, device=x.device).uniform_(0.85, 1.15)
        lift = torch.empty(per_clip, device=x.device).uniform_(-12, 12)
        x = x.reshape(-1, 8, *x.shape[1:]).mul(gain).add(lift).flatten(0, 1)
        x = x + torch.randn_like(x) * 2.0
    x = functional.interpolate(x, (FRAME_PX, FRAME_PX), mode="bicubic", align_corners=False)
    return x.clamp(0, 255).div(127.5).sub(1.0)


def _pinned(array: IntArray, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


class Feed:
    """Packs batches in a thread, so that the GPU never waits for words."""

    def __init__(self, clips: Clips, packer: Packer, seed: int, steps: int) -> None:
        self._queue: Queue[Batch] = Queue(maxsize=24)
        self._args = (clips, packer, seed, steps)
        threading.Thread(target=self._fill, daemon=True).start()

    def _fill(self) -> None:
        clips, packer, seed, steps = self._args
        rng = np.random.default_rng([seed, 2])
        for _ in range(steps):
            chosen = rng.integers(0, len(clips.words), BATCH)
            self._queue.put(packer.pack(clips.words, chosen, rng))

    def get(self, device: torch.device) -> dict[str, Tensor]:
        """The next batch's arrays as tensors."""
        batch = self._queue.get()
        return {
            name: _pinned(getattr(batch, name), device)
            for name in ("clips", "frame_order", "ids", "feature", "segment", "position", "target")
        }


def learning_rate(step: int, steps: int) -> float:
    """Warm-up, then a cosine to a hundredth."""
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    done = min(1.0, step / steps)
    return LEARNING_RATE * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


class Objective:
    """The two losses of a batch, with all clips on the trainee's device."""

    def __init__(self, trainee: Trainee, clips: Clips) -> None:
        self._trainee = trainee
        self.device = next(trainee.parameters()).device
        self._frames = torch.from_numpy(np.asarray(clips.frames)).to(self.device)
        self._classes = torch.from_numpy(np.asarray(clips.classes)).to(self.device)
        self._class_weight = torch.tensor([0.3, 1.0, 1.0, 1.5, 1.5], device=self.device)
        self._see = torch.compile(trainee.see)
        self._read = torch.compile(trainee.read)

    def losses(self, batch: dict[str, Tensor], *, words: bool) -> tuple[Tensor, Tensor]:
        """What the patches show, and (with `words`, else 0) what is said: two means."""
        order = batch["frame_order"][:, :, None, None]
        frames, classes = self._frames[batch["clips"]], self._classes[batch["clips"]]
        shown = frames.gather(1, order[..., None].expand(-1, -1, *frames.shape[2:]))
        truth = classes.gather(1, order.expand(-1, -1, *classes.shape[2:]))
        pixels = to_pixels(shown.flatten(0, 1), augment=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            visual = self._see(pixels)
            patches = self._trainee.patch_head(visual).flatten(0, 1).float()
            patch_loss = functional.cross_entropy(
                patches, truth.flatten().long(), weight=self._class_weight
            )
            if not words:
                return patch_loss, torch.zeros((), device=self.device)
            supervised = batch["target"] >= 0
            logits = self._trainee.model.lm_head(self._read(visual, batch)[supervised])
            return patch_loss, functional.cross_entropy(logits.float(), batch["target"][supervised])


def fit(
    trainee: Trainee, clips: Clips, packer: Packer, out: Path, steps: int, *, seed: int
) -> None:
    """Train in place, a line of figures every 100 steps, a checkpoint every 1,000."""
    objective = Objective(trainee, clips)
    feed = Feed(clips, packer, seed, steps)
    optimizer = _optimizer(trainee)
    started = time.monotonic()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        words = step >= PATCH_STEPS
        patch_loss, word_loss = objective.losses(feed.get(objective.device), words=words)
        loss = word_loss + PATCH_WEIGHT * patch_loss if words else patch_loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0 or step == steps - 1:
            _say(
                step=step, patch=round(patch_loss.item(), 4), words=round(word_loss.item(), 4),
                seconds=round(time.monotonic() - started, 1),
            )  # fmt: skip
        if step and step % 1000 == 0:
            save_model(trainee.model, out)


def _optimizer(trainee: Trainee) -> torch.optim.Optimizer:
    """AdamW; what is no matrix does not decay."""
    matrices = [p for p in trainee.parameters() if p.ndim >= 2]
    others = [p for p in trainee.parameters() if p.ndim < 2]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
        lr=LEARNING_RATE, betas=(0.9, 0.95), fused=True,
    )  # fmt: skip


def _say(**figures: object) -> None:
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


@torch.inference_mode()
def quick_check(trainee: Trainee, clips: Clips, packer: Packer) -> dict[str, float]:
    """Share of supervised tokens right on held-out clips, teacher-forced: a progress figure only.

    The figures of the model card come from `pipelines.scenes.evaluate`.
    """
    device = next(trainee.parameters()).device
    rng = np.random.default_rng(5)
    right = {"yes_no": 0, "words": 0}
    total = {"yes_no": 0, "words": 0}
    answers = torch.tensor([packer.encode(" Yes.")[0], packer.encode(" No.")[0]], device=device)
    for start in range(0, len(clips.words) - BATCH + 1, BATCH):
        batch = packer.pack(clips.words, np.arange(start, start + BATCH), rng)
        rows = {k: torch.from_numpy(v).to(device) for k, v in vars(batch).items()}
        shown = np.take_along_axis(
            np.asarray(clips.frames[start : start + BATCH]),
            batch.frame_order[:, :, None, None, None], axis=1,
        )  # fmt: skip
        pixels = to_pixels(torch.from_numpy(shown).to(device).flatten(0, 1), augment=False)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            hidden = trainee.read(trainee.see(pixels), rows)
            logits = trainee.model.lm_head(hidden[rows["target"] >= 0])
        target = rows["target"][rows["target"] >= 0]
        hit = logits.argmax(-1) == target
        yes_no = torch.isin(target, answers)
        for name, chosen in (("yes_no", yes_no), ("words", ~yes_no)):
            right[name] += int(hit[chosen].sum())
            total[name] += int(chosen.sum())
    return {name: right[name] / max(1, total[name]) for name in right}


def main(argv: list[str] | None = None) -> None:
    """Draw the clips, train, and write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--clips", type=int, default=90_000)
    parser.add_argument("--steps", type=int, default=6_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("var/training"), help="clips' folder")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args(argv)
    for name, count, seed in (("train", args.clips, args.seed), ("held", 1_920, args.seed + 1000)):
        if not (args.work / name / "words.pkl").exists():
            begun = time.monotonic()
            write_clips(args.work / name, count, seed, args.workers)
            _say(drawn=name, clips=count, seconds=round(time.monotonic() - begun, 1))
    torch.manual_seed(args.seed)
    torch.backends.cuda.matmul.allow_tf32 = True
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(args.out)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trainee = Trainee(build_model(tokenizer)).to(device)
    _say(parameters=sum(p.numel() for p in trainee.model.parameters()), device=str(device))
    packer = Packer(tokenizer)
    fit(trainee, Clips.read(args.work / "train"), packer, args.out, args.steps, seed=args.seed)
    save_model(trainee.model, args.out)
    held = quick_check(trainee, Clips.read(args.work / "held"), packer)
    _say(**{f"held_out_{name}": round(share, 4) for name, share in held.items()})


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
