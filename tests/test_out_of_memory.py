"""Running out of memory: smaller pieces, the same random numbers, and an error that helps."""

import pytest
import torch

from portrait3d_core.errors import TooLittleMemoryError
from portrait3d_core.out_of_memory import SMALLEST_CHUNK, SmallerChunks, explain_out_of_memory, is_out_of_memory


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
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
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
    assert stage.__doc__ == "Its text."
