"""What noise level a time means, and how clean latents follow from a network's output."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from ..errors import GuidanceError

PredictionType = Literal["epsilon", "v_prediction", "sample", "flow"]


def table_index(t: float, table_length: int) -> int:
    """Entry of a table of training steps for time t in (0, 1]; the paper's integer step is ``round(1000 t)``."""
    return min(max(round(t * table_length), 0), table_length - 1)


def vp_signal_noise(alphas_cumprod: Tensor, t: float) -> tuple[float, float]:
    """(alpha, sigma) of a variance-preserving model; alphas_cumprod: [T], alpha^2 + sigma^2 = 1."""
    alpha_bar = float(alphas_cumprod[table_index(t, len(alphas_cumprod))])
    return alpha_bar**0.5, (1.0 - alpha_bar) ** 0.5


def flow_signal_noise(t: float) -> tuple[float, float]:
    """(alpha, sigma) of a rectified-flow model: alpha + sigma = 1."""
    return 1.0 - t, t


def x0_from_output(output: Tensor, noisy: Tensor, alpha: float, sigma: float, kind: PredictionType) -> Tensor:
    """Clean latents from what the network returned for ``noisy`` = alpha x0 + sigma noise.

    epsilon: the noise.  v_prediction: alpha noise - sigma x0.  sample: x0.  flow: noise - x0.
    """
    if kind == "epsilon":
        return (noisy - sigma * output) / alpha
    if kind == "v_prediction":
        return alpha * noisy - sigma * output
    if kind == "sample":
        return output
    if kind == "flow":
        return noisy - sigma * output
    raise GuidanceError(f"Unknown prediction type {kind!r}", expected="epsilon, v_prediction, sample or flow")


def noise_from_x0(x0: Tensor, noisy: Tensor, alpha: float, sigma: float) -> Tensor:
    """The noise that, with ``x0``, makes ``noisy``; sigma must not be 0."""
    return (noisy - alpha * x0) / sigma
