"""Signal and noise at a time, and what a prediction of any type says about the picture."""

import pytest
import torch

from portrait3d_core.diffusion.noise_schedule import (
    flow_signal_noise,
    noise_from_x0,
    table_index,
    vp_signal_noise,
    x0_from_output,
)
from portrait3d_core.errors import GuidanceError


def test_table_index_is_the_papers_integer_step():
    assert [table_index(t, 1000) for t in (0.02, 0.4, 1.0)] == [20, 400, 999]


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample", "flow"])
def test_every_prediction_type_gives_back_x0(kind):
    table = (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000).square()).cumprod(0)
    alpha, sigma = flow_signal_noise(0.3) if kind == "flow" else vp_signal_noise(table, 0.3)
    x0, noise = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    noisy = alpha * x0 + sigma * noise
    outputs = {"epsilon": noise, "v_prediction": alpha * noise - sigma * x0, "sample": x0, "flow": noise - x0}
    recovered = x0_from_output(outputs[kind], noisy, alpha, sigma, kind)
    assert torch.allclose(recovered, x0, atol=1e-5)
    assert torch.allclose(noise_from_x0(recovered, noisy, alpha, sigma), noise, atol=1e-4)


def test_unknown_prediction_type_is_refused():
    with pytest.raises(GuidanceError, match="prediction type"):
        x0_from_output(torch.zeros(1), torch.zeros(1), 1.0, 0.0, "score")
