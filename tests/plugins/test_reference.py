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


def gate_row(filters: DIIRF) -> Tensor:
    """float (K, 7), the input `coefficients` of DIIRFGate."""
    return torch.cat([filters.coefficients(), filters.start()], dim=1).detach()


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
@pytest.mark.parametrize("differential", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
def test_gate_equals_the_networks_fcam(reference, channels, maps, h, w, with_status, differential, channels_last):
    torch.manual_seed(4)
    n, t = 16, 4
    fcam = FCAM(channels, maps, differential).requires_grad_(False)
    if differential:
        fcam.filter.r.uniform_(-1, 1)
    x, (h1, h2) = torch.randn(n * t, channels, h, w), torch.randn(2, n, maps, h, w)
    status = (torch.arange(n * t, dtype=torch.int32) * 37 % 64).reshape(n, t) if with_status else None  # 0 to 63
    flags = torch.zeros(n, t, dtype=torch.int32) if status is None else status
    usable, start = (flags & NOT_SCORED) == 0, (flags & Status.RELOCATED) != 0
    gated, _, *states = fcam.double()(x.double(), h1.double(), h2.double(), usable, start)
    fcam = fcam.float()
    weight, coefficients = fcam.compress.weight[:, :, 0, 0], gate_row(fcam.filter)
    given = x.permute(0, 2, 3, 1).contiguous() if channels_last else x
    y, out1, out2 = reference.gate(given, weight, h1, h2, coefficients, status, channels_last)
    y = y.permute(0, 3, 1, 2) if channels_last else y
    for ours, theirs in zip((y, out1, out2), (gated, *states), strict=True):
        assert torch.isfinite(ours).all()
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-6, atol=5e-6)  # FCAM's filters are doubles too


def differential(k: int) -> Tensor:
    """float (K, 7) of differential filters with other zeros than the initial ones."""
    filters = DIIRF(k, differential=True).requires_grad_(False)
    filters.r.copy_(torch.linspace(-0.9, 0.8, k))
    return gate_row(filters)


def test_a_start_is_scipys_steady_state(reference):
    k, t = 3, 50
    coefficients = differential(k)
    x = 3.0 + draw(5, t, 1, k, 1, 1)[0][:, 0]  # (T, K, 1, 1)
    status = torch.zeros(1, t, dtype=torch.int32)
    status[0, 0] = Status.RELOCATED
    unused = torch.full((1, k, 1, 1), 1e6)
    y, h1, h2 = reference.gate(x, torch.eye(k), unused, unused, coefficients, status)
    for channel, (b0, b1, b2, a1, a2, *_) in enumerate(coefficients.double().numpy()):
        signal, b, a = x[:, channel, 0, 0].double().numpy(), [b0, b1, b2], [1.0, a1, a2]
        first = scipy.signal.lfilter_zi(b, a) * signal[0]
        filtered, state = scipy.signal.lfilter(b, a, signal, zi=first)
        np.testing.assert_allclose(y[:, channel, 0, 0], signal / (1 + np.exp(-filtered)), rtol=1e-6)
        np.testing.assert_allclose([h1[0, channel, 0, 0], h2[0, channel, 0, 0]], state, rtol=0, atol=3e-6)


def test_a_still_gives_zero_from_its_first_frame_on(reference):
    """Exactly at the first frame; b0 + b1 + b2 is rounded, so later frames have an error of about 1e-7 of the input."""
    k, t = 4, 50
    coefficients = differential(k)
    x = draw(6, 1, 1, k, 8, 8)[0].expand(1, t, k, 8, 8)
    start1, start2 = (s[:, None, None] * x[:, 0] for s in coefficients[:, 5:].T)
    y, *_ = reference.diirf(x, start1, start2, coefficients[:, :5])
    assert torch.equal(y[:, 0], torch.zeros(1, k, 8, 8))
    assert y.abs().max() <= 1e-6 * x.abs().max()


@pytest.mark.parametrize(
    ("status", "kept"), [(0, True), (1, True), (2, False), (3, False), (4, True), (6, False), (10, False), (64, True)]
)
def test_a_start_removes_a_nan_from_the_state(reference, status, kept):
    """Only a start removes a NaN from the state, also at an unusable frame; all other frames keep it."""
    x, nan = torch.ones(1, 2, 1, 1), torch.full((1, 1, 1, 1), float("nan"))
    weight, coefficients = torch.ones(1, 2), differential(1)
    flags = torch.tensor([[status]], dtype=torch.int32)
    y, h1, h2 = reference.gate(x, weight, nan, nan, coefficients, flags)
    assert bool(torch.isnan(torch.cat([h1, h2])).all()) is kept
    assert bool(torch.isnan(y).all()) is kept
