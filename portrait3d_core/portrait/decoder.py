"""The decoder: tri-grid features to a density logit and colour features.

One hidden softplus layer, no view dependence (docs/method.md, section "Decoder").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Decoder:
    """Weights of the two layers with the equalised-learning-rate gains folded in.

    hidden_weight [H, C], hidden_bias [H]; out_weight [1+F, H], out_bias [1+F], where output 0 is the density logit.
    """

    hidden_weight: Tensor
    hidden_bias: Tensor
    out_weight: Tensor
    out_bias: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> Decoder:
        """The same decoder with ``change`` applied to every tensor."""
        return Decoder(*map(change, (self.hidden_weight, self.hidden_bias, self.out_weight, self.out_bias)))


def decode_hidden(decoder: Decoder, features: Tensor) -> Tensor:
    """features [..., C] -> hidden activations [..., H]. Both outputs are linear in them."""
    return F.softplus(F.linear(features, decoder.hidden_weight, decoder.hidden_bias))


def hidden_to_sigma(decoder: Decoder, hidden: Tensor) -> Tensor:
    """hidden [..., H] -> raw density logit [..., 1]."""
    return F.linear(hidden, decoder.out_weight[:1], decoder.out_bias[:1])


def hidden_to_colour(decoder: Decoder, hidden: Tensor) -> Tensor:
    """hidden [..., H] -> colour features [..., F] (unbounded)."""
    return F.linear(hidden, decoder.out_weight[1:], decoder.out_bias[1:])


def decode(decoder: Decoder, features: Tensor, for_colour: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """features [..., C] -> (raw density logit [..., 1], colour features [..., F]).

    for_colour: the features that the colour is read from, if not the same.
    """
    hidden = decode_hidden(decoder, features)
    colourful = hidden if for_colour is None else decode_hidden(decoder, for_colour)
    return hidden_to_sigma(decoder, hidden), hidden_to_colour(decoder, colourful)


def decode_sigma(decoder: Decoder, features: Tensor) -> Tensor:
    """features [..., C] -> raw density logit [..., 1]."""
    return hidden_to_sigma(decoder, decode_hidden(decoder, features))
