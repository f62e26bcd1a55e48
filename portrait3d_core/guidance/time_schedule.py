"""How time, guidance scale and learning rate move during an optimisation, and what noise level a time means."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..errors import GuidanceError

TimeSchedule = Literal["uniform", "linear"]
PredictionType = Literal["epsilon", "v_prediction", "sample", "flow"]


def progress_fraction(step: int, total: int) -> float:
    """0 at the first step (step = 1), 1 at the last (step = total)."""
    return (step - 1) / max(total - 1, 1)


def interpolate(ends: tuple[float, float], fraction: float) -> float:
    """``ends[0]`` at fraction 0, ``ends[1]`` at fraction 1, linear between."""
    return ends[0] + (ends[1] - ends[0]) * fraction


def draw_time(schedule: TimeSchedule, ends: tuple[float, float], step: int, total: int, generator: torch.Generator) -> float:
    """Time t of one step.

    "uniform": uniformly random between the two ends (paper). "linear": from ``ends[0]`` at the first step to
    ``ends[1]`` at the last; coarse decisions come first, which removes the saturation that late large t brings.
    One random number is drawn in both cases, so that a change of schedule leaves later draws alone.
    """
    draw = float(torch.rand((), generator=generator))
    return interpolate(ends, draw if schedule == "uniform" else progress_fraction(step, total))


def learning_rate_factor(step: int, total: int, warmup_steps: int, decay_fraction: float) -> float:
    """Multiplier of the learning rate: linear warm-up, then 1, then linear decay over the last share of the steps."""
    warmup = min(1.0, step / warmup_steps) if warmup_steps else 1.0
    decay_steps = decay_fraction * total
    decay = min(1.0, (total - step + 1) / decay_steps) if decay_steps >= 1.0 else 1.0
    return warmup * decay


def is_due(every: int, step: int) -> bool:
    """Whether something that happens every so many steps (0 = never) happens at this one; the first included."""
    return every > 0 and (step == 1 or step % every == 0)


def entropy_ramp(step: int, total: int) -> float:
    """The paper's ramp of the entropy weight: 0 to 1 over the first half, then 1."""
    return min(1.0, 2.0 * step / total)


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
