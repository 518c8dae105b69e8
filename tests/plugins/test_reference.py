# SPDX-License-Identifier: Apache-2.0
"""The C++ reference, compiled for the host, compared with PyTorch's filter, scipy and the network's FCAM."""

import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor

from eulernet.diirf import DIIRF, biquad
from eulernet.fcam import FCAM
from eulernet_core.status import NOT_SCORED, Status


def draw(seed: int, n: int, t: int, k: int, h: int, w: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, t, k, h, w, generator=generator)
    h1, h2 = torch.randn(2, n, k, h, w, generator=generator)
    return x, h1, h2, DIIRF(k).coefficients().detach()


@pytest.mark.parametrize(("n", "t", "k", "h", "w"), [(1, 1, 1, 1, 1), (2, 4, 4, 3, 5), (3, 7, 2, 8, 8)])
def test_diirf_equals_the_networks_filter(reference, n, t, k, h, w):
    x, h1, h2, coefficients = draw(1, n, t, k, h, w)
    for ours, expected in zip(reference.diirf(x, h1, h2, coefficients), biquad(x, h1, h2, coefficients), strict=True):
        assert torch.isfinite(ours).all()
        torch.testing.assert_close(ours, expected, rtol=0, atol=2e-6)


def test_diirf_equals_scipy_in_double(reference):
    k, t = 3, 200
    x, _, _, coefficients = draw(2, 1, t, k, 1, 1)
    zero = torch.zeros(1, k, 1, 1)
    y, h1, h2 = reference.diirf(x, zero, zero, coefficients, doubles=True)
    for channel, (b0, b1, b2, a1, a2) in enumerate(coefficients.double().numpy()):
        signal = x[0, :, channel, 0, 0].double().numpy()
        expected, state = scipy.signal.lfilter([b0, b1, b2], [1.0, a1, a2], signal, zi=np.zeros(2))
        np.testing.assert_allclose(y[0, :, channel, 0, 0], expected, rtol=2e-7, atol=1e-7)
        np.testing.assert_allclose([h1[0, channel, 0, 0], h2[0, channel, 0, 0]], state, rtol=2e-7, atol=1e-7)


def test_diirf_continues_from_its_state(reference):
    x, h1, h2, coefficients = draw(3, 2, 6, 4, 2, 3)
    whole, end1, end2 = reference.diirf(x, h1, h2, coefficients)
    first, mid1, mid2 = reference.diirf(x[:, :2], h1, h2, coefficients)
    second, last1, last2 = reference.diirf(x[:, 2:], mid1, mid2, coefficients)
    assert torch.equal(whole, torch.cat([first, second], dim=1))
    assert torch.equal(end1, last1)
    assert torch.equal(end2, last2)


@pytest.mark.parametrize(("channels", "maps", "h", "w"), [(32, 4, 3, 5), (6, 1, 2, 2), (12, 3, 1, 7)])
@pytest.mark.parametrize("with_status", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
def test_gate_equals_the_networks_fcam(reference, channels, maps, h, w, with_status, channels_last):
    torch.manual_seed(4)
    n, t = 16, 4
    fcam = FCAM(channels, maps).requires_grad_(False)
    x, (h1, h2) = torch.randn(n * t, channels, h, w), torch.randn(2, n, maps, h, w)
    status = (torch.arange(n * t, dtype=torch.int32) * 37 % 64).reshape(n, t) if with_status else None  # 0 to 63
    usable = None if status is None else (status & NOT_SCORED) == 0
    restart = None if status is None else (status & Status.RELOCATED) != 0
    expected = fcam.double()(x.double(), h1.double(), h2.double(), usable, restart)
    fcam = fcam.float()
    weight, coefficients = fcam.compress.weight[:, :, 0, 0], fcam.filter.coefficients()
    given = x.permute(0, 2, 3, 1).contiguous() if channels_last else x
    y, out1, out2 = reference.gate(given, weight, h1, h2, coefficients, status, channels_last)
    y = y.permute(0, 3, 1, 2) if channels_last else y
    for ours, theirs in zip((y, out1, out2), expected, strict=True):
        assert torch.isfinite(ours).all()
        torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=5e-6)  # FCAM's coefficients are doubles too


@pytest.mark.parametrize(
    ("status", "kept"), [(0, True), (1, True), (2, False), (3, False), (4, True), (6, False), (10, False), (64, True)]
)
def test_a_restart_removes_a_nan_from_the_state(reference, status, kept):
    """Only a restart removes a NaN from the state, also at an unusable frame; all other frames keep it."""
    x, nan = torch.ones(1, 2, 1, 1), torch.full((1, 1, 1, 1), float("nan"))
    weight, coefficients = torch.ones(1, 2), DIIRF(1).coefficients().detach()
    flags = torch.tensor([[status]], dtype=torch.int32)
    y, h1, h2 = reference.gate(x, weight, nan, nan, coefficients, flags)
    assert bool(torch.isnan(torch.cat([h1, h2])).all()) is kept
    assert bool(torch.isnan(y).all()) is kept
