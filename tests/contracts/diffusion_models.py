"""What every diffusion model promises (portrait3d_core/diffusion/model.py), as checks that all kinds of models pass.

A model is checked with prompts that were made for it, because not every model encodes texts itself.
"""

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from portrait3d_core.diffusion.model import DiffusionModel, with_hints

SIDES_DEG = (0.0, 90.0, 180.0)
"""Directions that every kind of blending takes for exactly front, side and back."""


@dataclass(frozen=True)
class Subject:
    """A model and what it can be asked.

    sided: a prompt of another text from the front, a side and behind.
    alone: each of these texts as a prompt that is the same from everywhere.
    listens: whether its answers depend on the prompt at all.
    takes_hints: whether it can be shown hints.
    """

    diffusion: DiffusionModel
    sided: Any
    alone: tuple[Any, Any, Any]
    listens: bool = True
    takes_hints: bool = False

    def images(self, count: int = 2) -> torch.Tensor:
        side = self.diffusion.native_resolution
        return 2 * torch.rand(count, 3, side, side) - 1

    def noisy(self, count: int = 1) -> torch.Tensor:
        return torch.randn(self.diffusion.encode(self.images(count)).shape)

    def ask(self, noisy: torch.Tensor, prompt: Any, *, t: float = 0.5, yaw_deg: float = 0.0, scale: float = 2.0):
        """The prediction for views that are all seen from one direction."""
        return self.diffusion.predict(noisy, t, prompt, torch.full((len(noisy),), yaw_deg), scale)


def it_says_what_it_is(subject: Subject) -> None:
    diffusion = subject.diffusion
    assert isinstance(diffusion.name, str) and diffusion.name
    assert isinstance(diffusion.native_resolution, int) and diffusion.native_resolution > 0
    assert torch.device(diffusion.device).type == "cpu"


def decoded_latents_are_pictures_of_the_same_size(subject: Subject) -> None:
    images = subject.images()
    latents = subject.diffusion.encode(images)
    decoded = subject.diffusion.decode(latents)
    assert latents.ndim == 4 and len(latents) == 2 and latents.dtype == decoded.dtype == torch.float32
    assert images.shape[-1] % latents.shape[-1] == 0 and latents.shape[-1] == latents.shape[-2]
    assert decoded.shape == images.shape and latents.isfinite().all()
    assert decoded.abs().mean() < 1  # "about -1..1", also by random weights


def encoding_and_decoding_are_deterministic(subject: Subject) -> None:
    images, diffusion = subject.images(), subject.diffusion
    latents = diffusion.encode(images)
    assert torch.equal(diffusion.encode(images), latents)
    assert torch.equal(diffusion.decode(latents), diffusion.decode(latents))


def encoding_is_differentiable(subject: Subject) -> None:
    """The gradient is that of a finite difference."""
    images = subject.images(1)
    direction, weights = torch.randn_like(images), subject.noisy()

    def cost(images: torch.Tensor) -> torch.Tensor:
        return (subject.diffusion.encode(images) * weights).sum()

    (slope,) = torch.autograd.grad(cost(images.requires_grad_()), images)
    step = 1e-2
    with torch.no_grad():
        rise = (cost(images + step * direction) - cost(images - step * direction)) / (2 * step)
    assert float((slope * direction).sum()) == pytest.approx(float(rise), rel=2e-2, abs=1e-3)


def noise_grows_from_almost_none_to_almost_all(subject: Subject) -> None:
    alphas, sigmas = zip(*(subject.diffusion.signal_noise(step / 20) for step in range(1, 21)), strict=True)
    assert list(alphas) == sorted(alphas, reverse=True) and list(sigmas) == sorted(sigmas)
    assert all(0 <= number <= 1 for number in (*alphas, *sigmas))
    alpha, sigma = subject.diffusion.signal_noise(1e-3)
    assert alpha > 0.95 and sigma < 0.15
    assert alphas[-1] < 0.3 and sigmas[-1] > 0.9


def predictions_are_numbers_without_a_graph(subject: Subject) -> None:
    noisy = subject.noisy(2)
    prediction = subject.ask(noisy.requires_grad_(), subject.sided)
    for part in (prediction.conditional, prediction.unconditional, prediction.guided):
        assert part.shape == noisy.shape and part.dtype == torch.float32 and part.isfinite().all()
        assert not part.requires_grad and not part.is_inference()


def predictions_are_deterministic_and_leave_what_they_are_given(subject: Subject) -> None:
    noisy = subject.noisy(2)
    kept = noisy.clone()
    first, second = (subject.ask(noisy, subject.sided) for _ in range(2))
    assert torch.equal(first.guided, second.guided) and torch.equal(noisy, kept)


def guidance_is_linear_in_its_scale(subject: Subject) -> None:
    noisy = subject.noisy()
    none, some, much = (subject.ask(noisy, subject.sided, scale=scale) for scale in (0.0, 1.0, 7.5))
    for prediction in (some, much):
        torch.testing.assert_close(prediction.conditional, none.conditional)
        torch.testing.assert_close(prediction.unconditional, none.unconditional)
    torch.testing.assert_close(none.guided, none.unconditional, rtol=0, atol=1e-5)
    torch.testing.assert_close(some.guided, none.conditional, rtol=0, atol=1e-5)
    expected = none.unconditional + 7.5 * (none.conditional - none.unconditional)
    torch.testing.assert_close(much.guided, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(none.guided, much.guided)


def a_batch_equals_its_single_views(subject: Subject) -> None:
    noisy, yaws = subject.noisy(4), torch.tensor([0.0, 100.0, 180.0, -90.0])
    together = subject.diffusion.predict(noisy, 0.5, subject.sided, yaws, 2.0).guided
    alone = [subject.diffusion.predict(noisy[i : i + 1], 0.5, subject.sided, yaws[i : i + 1], 2.0).guided for i in range(4)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)


def every_view_is_told_the_words_of_its_side(subject: Subject) -> None:
    noisy = subject.noisy()
    sided = [subject.ask(noisy, subject.sided, yaw_deg=yaw).conditional for yaw in SIDES_DEG]
    for found, words in zip(sided, subject.alone, strict=True):
        for yaw in SIDES_DEG:
            torch.testing.assert_close(found, subject.ask(noisy, words, yaw_deg=yaw).conditional, rtol=1e-4, atol=1e-4)
    if subject.listens:
        assert not torch.allclose(sided[0], sided[1], atol=1e-4) and not torch.allclose(sided[1], sided[2], atol=1e-4)


def the_other_side_is_told_the_same(subject: Subject) -> None:
    noisy = subject.noisy()
    left, right = (subject.ask(noisy, subject.sided, yaw_deg=yaw).conditional for yaw in (-90.0, 90.0))
    torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)


def a_prompt_serves_many_predictions(subject: Subject) -> None:
    noisy, (prompt, other, _) = subject.noisy(), subject.alone
    first = subject.ask(noisy, prompt).guided
    between = subject.ask(noisy, other).guided
    assert torch.equal(subject.ask(noisy, prompt).guided, first)
    assert not subject.listens or not torch.equal(between, first)


def hints_are_refused_by_a_model_that_cannot_be_shown_any(subject: Subject) -> None:
    assert with_hints(subject.diffusion, subject.sided, None) is subject.sided
    if not subject.takes_hints:
        with pytest.raises(Exception, match="ControlNet") as caught:
            with_hints(subject.diffusion, subject.sided, torch.zeros(1, 3, 8, 8))
        assert type(caught.value).__name__ == "GuidanceError"  # by name, as ComfyUI loads the core a second time


PROMISES = (
    it_says_what_it_is,
    decoded_latents_are_pictures_of_the_same_size,
    encoding_and_decoding_are_deterministic,
    encoding_is_differentiable,
    noise_grows_from_almost_none_to_almost_all,
    predictions_are_numbers_without_a_graph,
    predictions_are_deterministic_and_leave_what_they_are_given,
    guidance_is_linear_in_its_scale,
    a_batch_equals_its_single_views,
    every_view_is_told_the_words_of_its_side,
    the_other_side_is_told_the_same,
    a_prompt_serves_many_predictions,
    hints_are_refused_by_a_model_that_cannot_be_shown_any,
)
every_promise = pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
"""Makes a test of each; it takes ``promise`` and calls it with a :class:`Subject`."""
