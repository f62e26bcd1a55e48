"""Score-distillation loss forms: what the diffusion model would rather have seen, as a target to move towards.

Every form is a function ``form(evidence) -> target`` where the target has the shape of ``evidence.latents`` and
``latents - target`` is the residual in x0 space. Two settings are common to all forms and live outside of them:
the residual's weight (:func:`residual_weight`) and whether the residual is taken between latents or between images
(:mod:`.residual`).

In x0 space the classic residual of noises is (eps_hat - eps) = alpha / sigma * (latents - x0_hat), for epsilon, v and
flow models alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ..diffusion.model import Prediction
from ..diffusion.noise_schedule import noise_from_x0
from ..diffusion.sampling import Predict, SignalNoise, ddim
from ..errors import SettingsError

LossName = Literal["sds", "csd", "nfsd", "reference_delta", "multi_step_x0"]
WeightName = Literal["paper", "unit"]

NOISE_FREE_LIMIT = 0.2
"""NFSD treats times below this as nearly noise-free."""
MULTI_STEP_COUNT = 4
"""DDIM steps of ``multi_step_x0``."""


@dataclass(frozen=True)
class Reference:
    """The start portrait under the same cameras: where the source prompt already agrees, nothing should move.

    latents: [B, C, h, w] of the start renders.  predict: the diffusion model under the source prompt.
    described: False when there is no source prompt; then the diffusion model's unconditional belief is compared with.
    """

    latents: Tensor
    predict: Predict
    described: bool = True


@dataclass(frozen=True)
class Evidence:
    """All that one step knows. No tensor carries a graph."""

    latents: Tensor
    """[B, C, h, w] of the current renders."""
    noise: Tensor
    """[B, C, h, w] standard normal."""
    t: float
    guidance_scale: float
    signal_noise: SignalNoise
    predict: Predict
    """The diffusion model under the target prompt."""
    reference: Reference | None = None

    def noised(self, latents: Tensor) -> Tensor:
        """``latents`` with this step's noise at this step's level."""
        alpha, sigma = self.signal_noise(self.t)
        return alpha * latents + sigma * self.noise

    def prediction(self) -> Prediction:
        """The diffusion model's one-step view of the current renders."""
        return self.predict(self.noised(self.latents), self.t)


def sds(evidence: Evidence) -> Tensor:
    """Score distillation sampling (DreamFusion, arXiv:2209.14988; the paper's loss): the guided clean prediction."""
    return evidence.prediction().guided


def csd(evidence: Evidence) -> Tensor:
    """Classifier score distillation (arXiv:2310.19415): only the difference the prompt makes, s (c - u)."""
    prediction = evidence.prediction()
    difference = prediction.conditional - prediction.unconditional
    return evidence.latents + evidence.guidance_scale * difference


def nfsd(evidence: Evidence) -> Tensor:
    """Noise-free score distillation (arXiv:2310.17590): the prompt's difference plus, at small t, the pull to realism.

    Differs from the paper of this form: the diffusion model answers for two prompts, so the negative prompt also serves
    as the empty one; above t = 0.2 the realism term is then zero and the form equals :func:`csd`.
    """
    if evidence.t >= NOISE_FREE_LIMIT:
        return csd(evidence)
    alpha, sigma = evidence.signal_noise(evidence.t)
    noisy = evidence.noised(evidence.latents)
    noise_hat = noise_from_x0(evidence.predict(noisy, evidence.t).guided, noisy, alpha, sigma)
    return evidence.latents - sigma / alpha * noise_hat


def reference_delta(evidence: Evidence) -> Tensor:
    """Guided prediction plus the diffusion model's own error on the start render under the source prompt.

    Where both prompts agree the target is the start itself: identity, pose and unmentioned parts stay. Without a source
    prompt the target is the start plus what the prompt adds, s (c - u), which fades as the render comes to show it.
    """
    if evidence.reference is None:
        raise SettingsError("The loss form 'reference_delta' was given no start renders", expected="a reference")
    start = evidence.reference.latents
    seen = evidence.reference.predict(evidence.noised(start), evidence.t)
    belief = seen.conditional if evidence.reference.described else seen.unconditional
    return evidence.prediction().guided + (start - belief)


def multi_step_x0(evidence: Evidence) -> Tensor:
    """A sharper clean prediction: a few DDIM steps from t to 0 instead of one jump."""
    noisy = evidence.noised(evidence.latents)
    return ddim(evidence.predict, evidence.signal_noise, noisy, evidence.t, MULTI_STEP_COUNT)


LOSS_FORMS: Mapping[LossName, Callable[[Evidence], Tensor]] = {
    "sds": sds,
    "csd": csd,
    "nfsd": nfsd,
    "reference_delta": reference_delta,
    "multi_step_x0": multi_step_x0,
}


def residual_weight(name: WeightName, alpha: float, sigma: float) -> float:
    """Factor of the x0-space residual.

    "unit": 1, every noise level counts alike. "paper": w(t) = sigma^2 on the residual of noises, which is
    sigma^2 * alpha / sigma = alpha sigma in x0 space.
    """
    return alpha * sigma if name == "paper" else 1.0
