"""A ComfyUI MODEL keeps the promises of a diffusion model of the core."""

import pytest
import torch
from contracts.diffusion_models import Subject, every_promise

from .fake_models import conditioning, fake_model, fake_vae

TEXTS = {"positive": 5.0, "side": 6.0, "back": 7.0, "negative": 1.0}


@every_promise
@pytest.mark.parametrize("flow", [False, True])
def test_promise(pack, promise, flow):
    from comfy.model_sampling import CONST

    host = pack.module("nodes.host.diffusion_model")
    texts = {name: conditioning(value) for name, value in TEXTS.items()}
    alone = tuple(host.ConditioningPrompt(positive=name) for name in ("positive", "side", "back"))

    def stage(diffusion):
        promise(Subject(diffusion, host.target_prompt(texts), alone))

    with torch.inference_mode():
        host.run_with_diffusion_model(fake_model(CONST() if flow else None), fake_vae(), texts, stage, views=1, seed=1)
