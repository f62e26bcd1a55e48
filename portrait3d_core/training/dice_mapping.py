"""A mapping network written down instead of trained: from the dice of a random code to the latent of the head they throw.

What a code stands for jumps where a throw of the dice gives another answer (another hair style), and gradient descent
does not find hundreds of such jumps in a small network. They are known, though, so the first two layers are written down,
and only the last is solved for:

1. hinges: a pair for every jump, single ones for what bends, and every number of the code as it is;
2. the steps that those pairs make, and products of two of them ("a man" and "with a beard") or of a step and a number:
   those that explain most of what is still missing;
3. the least-squares readout. Latents are given an offset so that the last activation stays in its linear part.
"""

from __future__ import annotations

from collections.abc import Mapping as Table
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import SettingsError
from ..generator.layers import FullyConnected, normalise_second_moment
from ..generator.mapping import Mapping
from ..portrait.convolutions import ACTIVATION_GAIN, LEAKY_SLOPE

STEEPNESS = 8.0
"""Of a jump, per unit of a random number."""
MOST_JUMPS = 12
"""Of one throw whose answers shift with other throws."""
BENDS = (0.1, 0.3, 0.5, 0.7, 0.9)
ALOFT = 5.0
"""Added to numbers that pass through a leaky layer unchanged."""
ROUNDS = 3
"""In which products are chosen."""
SELECTION_CODES = 4000
RIDGE = 1e-4


@dataclass(frozen=True)
class Throws:
    """What is known of the dice.

    places: of their names in a random code.
    jumps:  by name, the shares of all throws at which another answer begins.
    bends:  names whose answers are not proportional to their number.
    """

    places: Table[str, int]
    jumps: Table[str, Sequence[float]]
    bends: frozenset[str]


@dataclass(frozen=True)
class Affine:
    """A layer before its activation: x W^T + b; weight [O, I], bias [O]."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """x [N, I] -> activated [N, O]."""
        return ACTIVATION_GAIN * F.leaky_relu(x @ self.weight.T + self.bias, LEAKY_SLOPE)


def jumps_of(throws: Throws) -> Tensor:
    """[J, 2] place in the code and threshold of every jump."""
    found = []
    for name, shares in throws.jumps.items():
        distinct = sorted({round(min(max(share, 0.001), 0.999), 3) for share in shares})
        while len(distinct) > MOST_JUMPS or any(b - a < 0.01 for a, b in zip(distinct, distinct[1:])):
            closest = min(range(len(distinct) - 1), key=lambda k: distinct[k + 1] - distinct[k])
            distinct[closest : closest + 2] = [(distinct[closest] + distinct[closest + 1]) / 2]
        found += [(throws.places[name], NormalDist().inv_cdf(share)) for share in distinct]
    return torch.tensor(found).reshape(-1, 2)


def hinge_layer(throws: Throws, jumps: Tensor, z_dim: int) -> Affine:
    """The first layer: two hinges per jump, then the numbers of the code, then the hinges of what bends."""
    bends = [(throws.places[name], NormalDist().inv_cdf(share)) for name in sorted(throws.bends) for share in BENDS]
    count = len(throws.places)
    weight, bias = torch.zeros(2 * len(jumps) + count + len(bends), z_dim), []
    for row, (place, threshold) in enumerate(jumps.tolist()):
        weight[2 * row : 2 * row + 2, int(place)] = STEEPNESS
        bias += [0.5 - STEEPNESS * threshold, -0.5 - STEEPNESS * threshold]
    start = 2 * len(jumps)
    weight[range(start, start + count), range(count)] = 1.0
    bias += [ALOFT] * count
    for row, (place, threshold) in enumerate(bends, start=start + count):
        weight[row, place] = 1.0
        bias.append(-threshold)
    return Affine(weight, torch.tensor(bias))


def step_layer(jumps: int, hinges: int) -> Affine:
    """The second layer without products: a step from 0 to 1 per jump, and what is not a jump as it is."""
    weight, bias = torch.zeros(hinges - jumps, hinges), torch.zeros(hinges - jumps)
    low = LEAKY_SLOPE
    for row in range(jumps):
        weight[row, 2 * row], weight[row, 2 * row + 1] = 1.0, -1.0
    weight[:jumps] /= (1 - low) * ACTIVATION_GAIN
    bias[:jumps] = -low / (1 - low) + 1e-3  # a little above 0, where the activation is straight
    weight[range(jumps, hinges - jumps), range(2 * jumps, hinges)] = 1 / ACTIVATION_GAIN
    bias[jumps:] = ALOFT
    return Affine(weight, bias)


@dataclass(frozen=True)
class Products:
    """P units of the second layer that are large only where a step is 1 and something else is: a step or a number.

    first: [P] rows of the step layer that are steps.  second: [P] rows of any kind.  kinds: how many rows are steps.
    """

    first: Tensor
    second: Tensor
    kinds: int

    def combine(self, rows: Tensor) -> Tensor:
        """Of the step layer's outputs before activation, [..., S], those of the products, [..., P]."""
        of_numbers = (self.second >= self.kinds).float()
        reach = 1 + of_numbers * (2 * ALOFT - 1)
        below = reach + of_numbers * ALOFT + 0.5 * (1 - of_numbers)
        return rows[..., self.second] + reach * rows[..., self.first] - below

    def layer(self, steps: Affine) -> Affine:
        """The same as rows of the second layer."""
        nothing = self.combine(torch.zeros(len(steps.bias)))
        weight = self.combine(steps.weight.T).T - nothing[:, None]
        return Affine(weight, self.combine(steps.bias))


def readout(hidden: Tensor, wanted: Tensor) -> tuple[Affine, Tensor]:
    """The least-squares layer from hidden [N, H] to wanted [N, W], before its activation, and what it misses [N, W]."""
    mean = hidden.mean(dim=0)
    centred = (hidden - mean).double()
    gram = centred.T @ centred
    gram.diagonal().add_(RIDGE * len(hidden))
    weight = torch.linalg.solve(gram, centred.T @ (wanted - wanted.mean(dim=0)).double()).T.float()
    solved = Affine(weight, wanted.mean(dim=0) - weight @ mean)
    return solved, wanted - (hidden @ weight.T + solved.bias)


def choose_products(rows: Tensor, missing: Tensor, jumps: Tensor, count: int) -> Products:
    """The ``count`` products that explain most of what is ``missing`` [N, W].

    rows: [N, S] outputs of the step layer before activation. What a product's parts explain alone is taken out of it,
    roughly: part by part.
    """
    kinds = len(jumps)
    plain = rows - rows.mean(dim=0)
    energy = plain.square().sum(dim=0) + 1e-6
    gains, candidates = [], []
    for first in range(kinds):
        others = torch.arange(rows.shape[1])
        fresh = others > first
        fresh[:kinds] &= jumps[:, 0] != jumps[first, 0]
        second = others[fresh]
        products = Products(torch.full_like(second, first), second, kinds)
        values = F.leaky_relu(products.combine(rows), LEAKY_SLOPE)
        values -= values.mean(dim=0)
        values -= plain[:, first, None] * ((plain[:, first] @ values) / energy[first])
        values -= plain[:, second] * ((plain[:, second] * values).sum(dim=0) / energy[second])
        gains.append((values.T @ missing).square().sum(dim=1) / (values.square().sum(dim=0) + 1e-3 * len(values)))
        candidates.append(torch.stack([products.first, second]))
    possible = torch.cat(gains) if gains else torch.empty(0)
    best = possible.topk(min(count, len(possible))).indices
    first, second = torch.cat(candidates, dim=1)[:, best] if gains else torch.empty(2, 0, dtype=torch.long)
    return Products(first, second, kinds)


def write_mapping(mapping: Mapping, throws: Throws, z: Tensor, wanted: Tensor) -> float:
    """Write the layers of ``mapping`` (three), in place; returns the mean squared error on a tenth of the codes.

    z: random codes [N, z_dim].  wanted: their latents [N, w_dim], positive.  The camera label is made to say nothing.
    Raises SettingsError if the network is too narrow.
    """
    code = normalise_second_moment(z)
    jumps = jumps_of(throws)
    first = hinge_layer(throws, jumps, z.shape[1])
    second = step_layer(len(jumps), len(first.bias))
    steps = second
    width = mapping.width
    if width < len(steps.bias):
        raise SettingsError(f"The mapping network is {width} wide", expected=f"at least {len(steps.bias)} for these dice")
    held = len(z) // 10
    few = slice(held, held + SELECTION_CODES)
    hinge = first(code[few])
    rows = hinge @ steps.weight.T + steps.bias
    for left in range(ROUNDS, 0, -1):
        _, missing = readout(second(hinge), wanted[few])
        count = (width - len(second.bias)) // left
        if count:
            extra = choose_products(rows, missing, jumps, count).layer(steps)
            second = Affine(torch.cat([second.weight, extra.weight]), torch.cat([second.bias, extra.bias]))
    hidden = torch.cat([second(first(part)) for part in code.split(8192)])
    last, _ = readout(hidden[held:], wanted[held:] / ACTIVATION_GAIN)
    for index, layer in enumerate((first, second, last)):
        _write(getattr(mapping, f"fc{index}"), layer)
    with torch.no_grad():
        label = torch.zeros(held, mapping.embed.weight.shape[1])
        return float((mapping(z[:held], label) - wanted[:held]).square().mean())


def _write(module: FullyConnected, layer: Affine) -> None:
    """Put a layer into a module; inputs and outputs that it lacks are zero."""
    with torch.no_grad():
        module.weight.zero_()
        module.bias.zero_()
        rows, columns = layer.weight.shape
        module.weight[:rows, :columns] = layer.weight / module.weight_gain
        module.bias[:rows] = layer.bias / module.bias_gain
