"""Running out of memory: smaller pieces, the same random numbers, and an error that helps."""

import pytest
import torch
from pretend_device import There, pretend_device

from portrait3d_core.errors import TooLittleMemoryError
from portrait3d_core.runtime.memory import (
    SMALLEST_CHUNK,
    SavedElsewhere,
    SmallerChunks,
    explain_out_of_memory,
    is_out_of_memory,
)


class Work:
    """Fits in memory with at most so many rays; fails in one of the ways in which torch says so."""

    def __init__(self, fits, error=None):
        self.fits, self.error, self.asked = fits, error or torch.OutOfMemoryError("CUDA out of memory"), []

    def __call__(self, rays):
        self.asked.append(rays)
        if rays > self.fits:
            raise self.error
        return rays


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:115] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"
        ),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        RuntimeError("Invalid buffer size: 99.00 GiB"),
    ],
)
def test_the_chunk_is_halved_until_it_fits_and_stays_so(error, caplog):
    attempt, work = SmallerChunks(4096), Work(1500, error)
    assert attempt(work) == 1024 and work.asked == [4096, 2048, 1024]
    assert attempt(work) == 1024 and work.asked[3:] == [1024]
    assert "trying again with 1024 rays" in caplog.text


def test_nothing_smaller_than_the_smallest_chunk_is_tried():
    work = Work(0)
    with pytest.raises(TooLittleMemoryError, match="lower the resolution") as caught:
        SmallerChunks(300)(work)
    assert work.asked == [300, 150, 75, SMALLEST_CHUNK] and isinstance(caught.value, MemoryError)


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shape"):
        SmallerChunks(4096)(Work(0, RuntimeError("shape mismatch")))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_a_repetition_draws_the_same_random_numbers():
    def drawn(fits):
        random = torch.Generator().manual_seed(1)

        def work(rays):
            numbers = torch.rand(3, generator=random)
            return Work(fits)(rays) and numbers

        return SmallerChunks(1024, random)(work), torch.rand(3, generator=random)

    for without, after in zip(drawn(1024), drawn(200), strict=True):
        assert torch.equal(without, after)


def test_a_stage_explains_what_happened_wherever_it_was():
    @explain_out_of_memory
    def stage(error):
        """Its text."""
        raise error

    with pytest.raises(TooLittleMemoryError):
        stage(torch.OutOfMemoryError("CUDA out of memory. Tried ...\nmore"))
    with pytest.raises(KeyError):
        stage(KeyError("x"))
    explained = TooLittleMemoryError("There is not enough memory")
    with pytest.raises(TooLittleMemoryError) as caught:
        stage(explained)
    assert caught.value is explained
    assert stage.__doc__ == "Its text."


def test_what_a_backward_pass_needs_goes_to_main_memory_and_the_gradient_stays():
    image, weight = torch.rand(1, 3, 8, 8), torch.rand(4, 3, 3, 3)
    attempt, failures, kept = SavedElsewhere(), [], []

    def gradient(device):
        leaf = image.to(device).requires_grad_()

        def encode():
            activations = torch.nn.functional.conv2d(leaf, weight.to(device)).exp()
            if failures:
                raise failures.pop()
            return activations

        latents = attempt(encode)
        kept.append(latents.grad_fn._raw_saved_result.data)
        return torch.autograd.grad(latents.sum(), leaf)[0]

    expected = gradient(torch.device("cpu"))
    failures.append(torch.OutOfMemoryError("CUDA out of memory"))
    with pretend_device() as device:
        for _ in range(2):
            assert torch.equal(gradient(device).held, expected)
            origin, stored = kept[-1]
            assert attempt.used and origin == device and not isinstance(stored, There)
    with pytest.raises(RuntimeError, match="shape"):
        SavedElsewhere()(lambda: Work(0, RuntimeError("shape mismatch"))(1))
