# SPDX-License-Identifier: Apache-2.0
"""DIIRF compared with scipy: recursion, gradients, stability, and the initial band-passes."""

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eulernet import diirf
from eulernet.diirf import DIIRF


def random_filter(channels: int, seed: int, dtype: torch.dtype) -> DIIRF:
    generator = torch.Generator().manual_seed(seed)
    layer = DIIRF(channels).to(dtype)
    with torch.no_grad():
        layer.b.copy_(torch.randn(channels, 3, generator=generator, dtype=torch.float64))
        layer.p.copy_(torch.randn(channels, 2, generator=generator, dtype=torch.float64))
    return layer


def with_parameters(poles: list[tuple[float, float]]) -> DIIRF:
    layer = DIIRF(len(poles), pole_radius=1.0)
    with torch.no_grad():
        layer.p.copy_(torch.tensor(poles))
        layer.b.fill_(1.0)
    return layer


def lfilter(layer: DIIRF, x: np.ndarray) -> np.ndarray:
    """scipy on x (N, T, K, H, W) in float64, with the layer's coefficients."""
    y = np.empty_like(x, dtype=np.float64)
    for k, (b0, b1, b2, a1, a2) in enumerate(layer.coefficients().detach().double().numpy()):
        y[:, :, k] = scipy.signal.lfilter([b0, b1, b2], [1.0, a1, a2], x[:, :, k].astype(np.float64), axis=1)
    return y


def impulse_response(layer: DIIRF, frames: int) -> torch.Tensor:
    """(frames, K)"""
    k = len(layer.b)
    x = torch.zeros(1, frames, k, 1, 1)
    x[:, 0] = 1.0
    with torch.no_grad():
        y, _, _ = layer(x, torch.zeros(1, k, 1, 1), torch.zeros(1, k, 1, 1))
    return y[0, :, :, 0, 0]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 2e-4)])
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_scipy_over_a_long_signal(dtype: torch.dtype, tolerance: float, seed: int) -> None:
    layer = random_filter(3, seed, dtype)
    x = torch.randn(2, 2000, 3, 2, 1, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    zero = torch.zeros(2, 3, 2, 1, dtype=dtype)
    y, _, _ = layer(x, zero, zero)
    expected = lfilter(layer, x.numpy())
    assert y.dtype == dtype
    assert not torch.isnan(y).any()
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_final_state_is_scipys() -> None:
    layer = random_filter(2, 7, torch.float64)
    x = torch.randn(1, 50, 2, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    zero = torch.zeros(1, 2, 1, 1, dtype=torch.float64)
    _, h1, h2 = layer(x, zero, zero)
    for k, (b0, b1, b2, a1, a2) in enumerate(layer.coefficients().detach().numpy()):
        _, final = scipy.signal.lfilter([b0, b1, b2], [1, a1, a2], x[0, :, k, 0, 0].numpy(), zi=np.zeros(2))
        np.testing.assert_allclose([h1[0, k, 0, 0].item(), h2[0, k, 0, 0].item()], final, atol=1e-12)


@pytest.mark.parametrize("cut", [1, 5, 11])
def test_a_signal_in_two_parts_is_the_signal_in_one(cut: int) -> None:
    layer = random_filter(2, 1, torch.float32)
    x = torch.randn(2, 12, 2, 3, 3, generator=torch.Generator().manual_seed(2))
    zero = torch.zeros(2, 2, 3, 3)
    whole = layer(x, zero, zero)
    first, h1, h2 = layer(x[:, :cut], zero, zero)
    second, h1, h2 = layer(x[:, cut:], h1, h2)
    for expected, actual in zip(whole, (torch.cat([first, second], dim=1), h1, h2), strict=True):
        assert torch.equal(expected, actual)


def test_gradients_are_right() -> None:
    layer = random_filter(2, 3, torch.float64)
    generator = torch.Generator().manual_seed(4)
    shapes = [(2, 5, 2, 1, 2), (2, 2, 1, 2), (2, 2, 1, 2)]
    inputs = [torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True) for s in shapes]
    parameters = [layer.b.detach().clone().requires_grad_(), layer.p.detach().clone().requires_grad_()]

    def run(x: torch.Tensor, h1: torch.Tensor, h2: torch.Tensor, b: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = torch.func.functional_call(layer, {"b": b, "p": p}, (x, h1, h2))
        return outputs

    assert torch.autograd.gradcheck(run, (*inputs, *parameters))


ANY_NUMBER = st.floats(allow_nan=False, width=32)


@given(st.lists(st.tuples(ANY_NUMBER, ANY_NUMBER), min_size=1, max_size=8))
@settings(deadline=None, max_examples=300)
def test_poles_are_inside_the_unit_circle_for_any_parameters(poles: list[tuple[float, float]]) -> None:
    coefficients = with_parameters(poles).coefficients().detach().double().numpy()
    for _, _, _, a1, a2 in coefficients:
        assert np.abs(np.roots([1.0, a1, a2])).max() < 1.0 - 1e-5


EXTREMES = [0.0, 1e-30, 0.5, 3.0, 9.0, 30.0, 1e30, float("inf")]


def test_impulse_responses_die_out_at_the_extremes() -> None:
    signed = [sign * value for value in EXTREMES for sign in (1.0, -1.0)]
    response = impulse_response(with_parameters([(p1, p2) for p1 in signed for p2 in signed]), frames=3000)
    assert torch.isfinite(response).all()
    early, late = response[:1500].abs().amax(dim=0), response[1500:].abs().amax(dim=0)
    assert (late < early).all()
    assert early.max() < 200.0  # a pole pair near 1 - 5e-3 peaks at about 1 / (e * 5e-3) before it decays


def test_without_the_margin_a_pole_would_lie_on_the_circle(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = with_parameters([(0.0, 30.0)])
    monkeypatch.setattr(diirf, "STABILITY_MARGIN", 0.0)
    assert np.abs(np.roots([1.0, *layer.coefficients()[0, 3:].tolist()])).max() >= 1.0


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_starts_as_scipys_iirpeak(channels: int) -> None:
    coefficients = DIIRF(channels).coefficients().detach().numpy()
    centres = np.geomspace(*diirf.BAND_HZ, channels) if channels > 1 else [np.sqrt(np.prod(diirf.BAND_HZ))]
    for row, centre in zip(coefficients, centres, strict=True):
        b, a = scipy.signal.iirpeak(centre, diirf.QUALITY, fs=diirf.CLIP_RATE_HZ)
        np.testing.assert_allclose(row, [*b, *a[1:]], atol=1e-6)


@pytest.mark.parametrize("quality", [0.5, 1.0, 30.0])
@pytest.mark.parametrize("centre_hz", [0.2, 1.0, 4.9])
def test_peak_coefficients_are_scipys_in_float64(centre_hz: float, quality: float) -> None:
    b, a = scipy.signal.iirpeak(centre_hz, quality, fs=10.0)
    np.testing.assert_allclose(diirf.peak_coefficients(centre_hz, 10.0, quality), [*b, *a[1:]], atol=1e-14)


@pytest.mark.parametrize("centre_hz", [0.0, 5.0, -1.0, float("nan")])
def test_a_centre_outside_the_band_is_refused(centre_hz: float) -> None:
    with pytest.raises(ValueError, match="choose one between 0 and"):
        diirf.peak_coefficients(centre_hz, 10.0, 1.0)


def test_starts_blind_to_a_still_picture_and_to_flicker_at_half_the_rate() -> None:
    layer = DIIRF(4)
    still = torch.full((1, 400, 4, 1, 1), 5.0)
    flicker = still * torch.tensor([1.0, -1.0]).repeat(200)[None, :, None, None, None]
    for x in (still, flicker):
        y, _, _ = layer(x, torch.zeros(1, 4, 1, 1), torch.zeros(1, 4, 1, 1))
        assert y[:, 0].abs().min() > 0.5
        assert y[:, -1].abs().max() < 1e-4


def test_starts_passing_its_centres_unchanged() -> None:
    for centre, (b0, b1, b2, a1, a2) in zip(
        diirf.log_spaced(*diirf.BAND_HZ, 4), DIIRF(4).coefficients().tolist(), strict=True
    ):
        _, gain = scipy.signal.freqz([b0, b1, b2], [1.0, a1, a2], worN=[centre], fs=diirf.CLIP_RATE_HZ)
        assert gain[0] == pytest.approx(1.0, abs=1e-5)


def radii(layer: DIIRF) -> list[float]:
    return [float(np.abs(np.roots([1.0, *row])).max()) for row in layer.coefficients()[:, 3:].detach().double().numpy()]


@pytest.mark.parametrize("radius", [0.5, 0.9, 1.0])
def test_no_pole_is_beyond_the_largest_radius(radius: float) -> None:
    layer = DIIRF(400, pole_radius=max(radius, 0.9))
    with torch.no_grad():
        layer.p.copy_(5.0 * torch.randn(layer.p.shape, generator=torch.Generator().manual_seed(0)))
    layer.limit_poles(radius)
    assert 0.9 * radius < max(radii(layer)) < radius


def test_limiting_moves_only_the_poles_beyond_and_keeps_their_frequency() -> None:
    layer = DIIRF(3, differential=True, pole_radius=1.0)
    pairs = [(0.97, 0.97), (0.95, -0.4), (0.6, 0.6)]
    angles = [0.16, 0.0, 1.0]
    turned = [np.exp(1j * angle) if angle else 1.0 for angle in angles]
    denominators = [np.poly([a * t, b * np.conj(t)]).real[1:] for (a, b), t in zip(pairs, turned, strict=True)]
    with torch.no_grad():
        layer.p.copy_(torch.tensor([diirf.poles_to_parameters(list(row), 1.0) for row in denominators]))
    layer.limit_poles(0.9)
    expected = [np.poly([0.882 * turned[0], 0.882 * np.conj(turned[0])]).real[1:], np.poly([0.882, -0.4])[1:]]
    np.testing.assert_allclose(layer.coefficients()[:, 3:].detach().numpy(), [*expected, denominators[2]], atol=2e-6)


def test_a_pulse_is_forgotten_after_what_training_shows() -> None:
    layer = DIIRF(8)
    with torch.no_grad():
        layer.p.copy_(5.0 * torch.randn(8, 2, generator=torch.Generator().manual_seed(3)))
    response = impulse_response(layer, 60).abs()
    assert (response[40:].amax(0) < 0.1 * response[:20].amax(0)).all()


def test_no_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="DIIRF over 0 channels"):
        DIIRF(0)


def differential(channels: int, seed: int) -> DIIRF:
    generator = torch.Generator().manual_seed(seed)
    layer = DIIRF(channels, differential=True).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return layer


def test_a_differential_filter_begins_as_the_same_band_passes() -> None:
    torch.testing.assert_close(DIIRF(4, differential=True).coefficients(), DIIRF(4).coefficients())


@pytest.mark.parametrize("seed", range(4))
def test_a_differential_filter_starts_from_scipys_steady_state(seed: int) -> None:
    layer = differential(3, seed)
    x = torch.randn(2, 40, 3, 1, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    y, _, _ = layer(x, *diirf.started(x[:, 0], layer.start()))
    for k, (b0, b1, b2, a1, a2) in enumerate(layer.coefficients().detach().numpy()):
        assert abs(b0 + b1 + b2) < 1e-12
        state = scipy.signal.lfilter_zi([b0, b1, b2], [1.0, a1, a2])
        signal = x[:, :, k].numpy()
        for n in range(2):
            for column in range(2):
                one = signal[n, :, 0, column]
                expected, _ = scipy.signal.lfilter([b0, b1, b2], [1.0, a1, a2], one, zi=state * one[0])
                np.testing.assert_allclose(y[n, :, k, 0, column].detach().numpy(), expected, atol=1e-9)


def test_other_filters_start_from_zero() -> None:
    assert not DIIRF(3).start().any()
