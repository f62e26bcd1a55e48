"""The mapping network: a random code and a camera label to a latent w (docs/method.md, section "Mapping")."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layers import FullyConnected, leaky, normalise_second_moment

LR_MULTIPLIER = 0.01


class Mapping(nn.Module):
    """z and label to w. ``label_dim`` counts camera and pose entries together."""

    w_avg: Tensor

    def __init__(self, z_dim: int, label_dim: int, w_dim: int, layers: int, width: int = 0) -> None:
        """width: of the layers between; 0 means w_dim, as published."""
        super().__init__()
        self.embed = FullyConnected(label_dim, w_dim)
        self.layers = layers
        self.width = width or w_dim
        for index in range(layers):
            inputs = z_dim + w_dim if index == 0 else self.width
            outputs = w_dim if index == layers - 1 else self.width
            setattr(self, f"fc{index}", FullyConnected(inputs, outputs, lr_multiplier=LR_MULTIPLIER))
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        """z [N, z_dim] standard normal, label [N, label_dim] -> w [N, w_dim]. Computed in the weights' dtype."""
        dtype = self.w_avg.dtype
        code = normalise_second_moment(z.to(dtype))
        condition = normalise_second_moment(self.embed(label.to(dtype)))
        x = torch.cat([code, condition], dim=1)
        for index in range(self.layers):
            x = leaky(getattr(self, f"fc{index}")(x))
        return x

    @torch.no_grad()
    def track_average(self, w: Tensor, momentum: float = 0.998) -> None:
        """Move ``w_avg`` towards the mean of w [N, w_dim] (only while training)."""
        self.w_avg.lerp_(w.detach().mean(dim=0), 1 - momentum)


def truncate(w_plus: Tensor, w_avg: Tensor, truncation: float, cutoff: int | None) -> Tensor:
    """w_plus [N, num_ws, w_dim] with its first ``cutoff`` latents (None: all) pulled towards ``w_avg`` [w_dim].

    truncation: 1 leaves them alone, 0 replaces them.
    """
    if truncation == 1.0:
        return w_plus
    truncated = torch.lerp(w_avg.expand_as(w_plus), w_plus, truncation)
    return truncated if cutoff is None else torch.cat([truncated[:, :cutoff], w_plus[:, cutoff:]], dim=1)
