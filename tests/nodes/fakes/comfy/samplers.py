"""Stand-in for ``comfy.samplers``: the guided prediction and the guider's life cycle, without loading or batching.

The text of a conditioning is a number here, which the fake model's ``predict`` understands.
"""

import torch

from .model_management import load_models_gpu


class Sampler:
    pass


def predicted(model, x, timestep, cond):
    """The model's answer to one conditioning, with what its ControlNets add."""
    (options,) = cond
    control = options.get("control")
    return model.predict(x, timestep, options["cross_attn"]) + (0 if control is None else control.get_control(x))


def sampling_function(model, x, timestep, uncond, cond, cond_scale, model_options, seed=None):
    """ComfyUI's order: both predictions, their combination, then the hooks."""
    positive, negative = predicted(model, x, timestep, cond), predicted(model, x, timestep, uncond)
    result = negative + cond_scale * (positive - negative)
    for hook in model_options.get("sampler_post_cfg_function", []):
        result = hook({"denoised": result, "cond_denoised": positive, "uncond_denoised": negative, "sigma": timestep})
    return result


class CFGGuider:
    def __init__(self, model_patcher):
        self.model_patcher, self.original_conds, self.cfg = model_patcher, {}, 1.0

    def inner_set_conds(self, conds):
        for name, parts in conds.items():
            self.original_conds[name] = [{**options, "cross_attn": text} for text, options in parts]

    def set_cfg(self, cfg):
        self.cfg = cfg

    def __call__(self, x, timestep, model_options, seed=None):
        return self.predict_noise(x, timestep, model_options, seed)

    def sample(self, noise, latent_image, sampler, sigmas, denoise_mask=None, callback=None, disable_pbar=False, seed=None):
        self.inner_model, self.conds = self.model_patcher.model, dict(self.original_conds)
        options = {"model_options": dict(self.model_patcher.model.options), "seed": seed}
        load_models_gpu(sum(self.model_patcher.additional_models.values(), []))
        with torch.inference_mode():
            return sampler.sample(self, sigmas, options, callback, noise, latent_image, denoise_mask, disable_pbar)
