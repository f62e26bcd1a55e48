"""Run by ComfyUI's Python: the built-in MODEL, CLIP and VAE against diffusers. Prints the largest differences as JSON."""

import json

import inside_comfy  # noqa: F401
import torch
from diffusers import StableDiffusionPipeline
from pack.nodes.host.built_in_models import load_clip, load_model, load_vae
from pack.portrait3d_core.bundle.files import diffusion_path

TEXT = "front view, a young woman with fair skin, long wavy red hair, a blue hoodie"


@torch.inference_mode()
def largest_differences() -> dict[str, float]:
    folder = diffusion_path()
    reference = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, local_files_only=True)
    model, clip, vae = load_model(folder), load_clip(folder), load_vae(folder)
    torch.manual_seed(0)
    length = reference.tokenizer.model_max_length
    tokens = reference.tokenizer(TEXT, padding="max_length", max_length=length, return_tensors="pt").input_ids
    text = reference.text_encoder(tokens)[0]
    ours = clip.encode_from_tokens(clip.tokenize(TEXT))
    images = torch.rand(2, 64, 64, 3)
    latents = reference.vae.encode(images.movedim(-1, 1) * 2 - 1).latent_dist.mean
    decoded = (reference.vae.decode(latents).sample / 2 + 0.5).clamp(0, 1).movedim(1, -1)
    steps = torch.tensor([10, 700])
    alpha = reference.scheduler.alphas_cumprod[steps].sqrt().view(-1, 1, 1, 1)
    sigma = (1 - alpha**2).sqrt()
    noisy = torch.randn_like(latents)
    v = reference.unet(noisy, steps, encoder_hidden_states=text.expand(2, -1, -1)).sample
    clean = model.model.apply_model(noisy / alpha, (sigma / alpha).flatten(), c_crossattn=text.expand(2, -1, -1))
    pairs = {
        "text": (text, ours),
        "encode": (latents, vae.encode(images)),
        "decode": (decoded, vae.decode(latents)),
        "x0": (alpha * noisy - sigma * v, clean),
    }
    return {name: float((a - b).abs().max()) for name, (a, b) in pairs.items()}


print(json.dumps(largest_differences()))
