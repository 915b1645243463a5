"""Is what rounding costs of the size that bfloat16 really costs, and does nothing stay of it?"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipelines.smolvlm2.checkpoint import load_checkpoint
from pipelines.smolvlm2.exam import Paper, Sheet, grade, sit
from pipelines.smolvlm2.presets import BUNDLED_DIR
from pipelines.smolvlm2.rounding import rounded
from pipelines.smolvlm2.sample_windows import papers_of, scene_windows
from pipelines.smolvlm2.torch_engine import TorchEngine


@pytest.fixture
def bundled():
    return load_checkpoint(BUNDLED_DIR, torch.float32, torch.device("cpu"))


def said(module, tokens, papers: list[Paper]) -> list[Sheet]:
    engine = TorchEngine(module, tokens.end_id)
    ids = tokens.yes_ids + tokens.no_ids
    return [sit(engine, paper, ids, words=False) for paper in papers]


def test_it_costs_about_what_bfloat16_costs_and_nothing_afterwards(bundled):
    module, tokens = bundled
    engine = TorchEngine(module, tokens.end_id)
    papers = papers_of(
        scene_windows(6, 2, 5), tokens, engine.frame_size_px, engine.tokens_per_frame
    )
    right = said(module, tokens, papers)
    with rounded(module):
        roughly = said(module, tokens, papers)
    again = said(module, tokens, papers)
    assert all(torch.equal(a.logits, b.logits) for a, b in zip(again, right, strict=True))
    really = said(module.to(torch.bfloat16), tokens, papers)
    costs, really_costs = (
        grade(given, right, len(tokens.yes_ids)).logit_error for given in (roughly, really)
    )
    assert really_costs / 10 < costs < really_costs * 3


def test_every_product_and_layer_rounds(bundled):
    module, tokens = bundled
    products = [part for part in module.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    layers = [*module.model.vision_model.encoder.layers, *module.model.text_model.layers]
    seen: dict[int, bool] = {}

    def note(part, _given, output) -> None:
        seen[id(part)] = torch.equal(output, output.to(torch.bfloat16).float())

    engine = TorchEngine(module, tokens.end_id)
    papers = papers_of(
        scene_windows(1, 1, 5), tokens, engine.frame_size_px, engine.tokens_per_frame
    )
    with rounded(module):
        hooks = [part.register_forward_hook(note) for part in [*products, *layers]]
        sit(engine, papers[0], tokens.yes_ids + tokens.no_ids)
        for hook in hooks:
            hook.remove()
    assert len(seen) == len(products) + len(layers)
    assert all(seen.values())
    assert module.lm_head.weight.dtype == torch.float32
    assert not any("forward" in vars(part) for part in products)
