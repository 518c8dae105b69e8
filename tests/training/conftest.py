"""Fixtures of the method's tests: one thread, and clips to score."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_clip() -> Callable[..., Tensor]:
    """make_clip(n, t, size, seed) draws smooth moving pictures, uint8 (n, t, size, size, 3)."""

    def make(n: int, t: int = 4, size: int = 64, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        coarse = torch.rand(n * t, 3, 4, 4, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=True)
        return (smooth * 255.0).to(torch.uint8).permute(0, 2, 3, 1).reshape(n, t, size, size, 3).contiguous()

    return make
