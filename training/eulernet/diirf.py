# SPDX-License-Identifier: Apache-2.0
"""DIIRF, the differential infinite impulse response filter of EulerNet's FCAM (SEKE 2022 slides, equations 1 to 3).

The recursion is the slides'; the stable parametrisation and the band-pass start are this project's declared choices.
"""

import cmath
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from eulernet_core.clip_geometry import FRAME_INTERVAL

ONNX_DOMAIN = "eulernet"
ONNX_OP = "DIIRF"
# TensorRT's parser passes a node to the registered plugin of this namespace and version; other runtimes run the body.
PLUGIN_ATTRIBUTES = {"plugin_namespace": "eulernet", "plugin_version": "1"}

# tanh is exactly 1.0 in float32 from about 9.1 on, which would put a pole on the unit circle. With a margin of 1 % the
# worst pole is at 1 - 5e-5, about 800 float32 roundings inside.
STABILITY_MARGIN = 1e-2

# A pole of radius r rings on as r^n after n frames. Training sees 20 frames of a sequence at most, and 0.9^20 is 0.12.
# Filters that remember more than training shows them drifted in streams.
POLE_RADIUS = 0.9
_INSIDE = 0.98  # of the limit, for a pole that is moved inside
_STEEP = 0.999  # the largest tanh of a parameter that is set: beyond it, the parameter would hardly learn

CLIP_RATE_HZ = 30.0 / FRAME_INTERVAL  # of video with 30 frames/s
BAND_HZ = (0.5, 3.0)  # from a slow blink or nod to the pulse of an excited person
QUALITY = 1.0  # centre over bandwidth; four frames are too short for a sharper filter


def peak_coefficients(centre_hz: float, rate_hz: float, quality: float) -> tuple[float, float, float, float, float]:
    """Second-order band-pass of gain 1 at its centre and 0 at 0 Hz and at half the sampling rate.

    `scipy.signal.iirpeak` in closed form (Orfanidis, Introduction to Signal Processing, section 11.3), so that
    training does not need scipy.

    Args:
        centre_hz: centre frequency, between 0 and half of `rate_hz`.
        rate_hz: sampling rate.
        quality: centre over the width at -3 dB.

    Returns:
        b0, b1, b2, a1, a2 with a0 = 1.
    """
    if not 0.0 < centre_hz < rate_hz / 2:
        raise ValueError(f"centre frequency {centre_hz} Hz: choose one between 0 and {rate_hz / 2} Hz")
    if quality <= 0.0:
        raise ValueError(f"quality {quality}: choose a positive one")
    centre = 2.0 * math.pi * centre_hz / rate_hz
    gain = 1.0 / (1.0 + math.tan(centre / quality / 2.0))
    return 1.0 - gain, 0.0, gain - 1.0, -2.0 * gain * math.cos(centre), 2.0 * gain - 1.0


def log_spaced(low: float, high: float, count: int) -> list[float]:
    """`count` values from `low` to `high` at equal ratios; the geometric mean for one value."""
    if count == 1:
        return [math.sqrt(low * high)]
    return [low * (high / low) ** (i / (count - 1)) for i in range(count)]


def biquad(x: Tensor, h1: Tensor, h2: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Filter along time, direct form II transposed: the function behind the ONNX node `eulernet::DIIRF`.

    y[n] = b0 x[n] + h1[n-1];  h1[n] = b1 x[n] + h2[n-1] - a1 y[n];  h2[n] = b2 x[n] - a2 y[n]

    Args:
        x: float (N, T, K, H, W).
        h1: float (N, K, H, W), state before the first frame.
        h2: float (N, K, H, W), state before the first frame.
        coefficients: float (K, 5), columns b0, b1, b2, a1, a2.

    Returns:
        y (N, T, K, H, W), and h1 and h2 after the last frame, (N, K, H, W).
    """
    if torch.onnx.is_in_onnx_export():
        y, h1, h2 = torch.onnx.ops.symbolic_multi_out(
            f"{ONNX_DOMAIN}::{ONNX_OP}",
            (x, h1, h2, coefficients),
            dict(PLUGIN_ATTRIBUTES),
            dtypes=(x.dtype, h1.dtype, h2.dtype),
            shapes=(x.shape, h1.shape, h2.shape),
            version=1,
        )
        return y, h1, h2
    b0, b1, b2, a1, a2 = coefficients[:, :, None, None].unbind(dim=1)
    outputs = []
    for frame in x.unbind(dim=1):
        y = b0 * frame + h1
        h1 = b1 * frame + h2 - a1 * y
        h2 = b2 * frame - a2 * y
        outputs.append(y)
    return torch.stack(outputs, dim=1), h1, h2


class DIIRF(nn.Module):
    """A trained biquad per channel, stable for any value of its parameters, with a limited memory.

    A biquad is stable inside the triangle |a2| < 1, |a1| < 1 + a2. The trained parameters p1, p2 stay inside it, with
    a2 = (1 - e) tanh(p2) and a1 = (1 - e)(1 + a2) tanh(p1); the slides train a and b directly, without a guarantee of
    stability. Then a1 is multiplied by R and a2 by R^2, which multiplies both poles by R, the largest radius.

    A differential filter has b(z) = g (1 - z^-1)(1 - r z^-1) with trained g and r: its response to a still picture is
    zero for any value of its parameters. It starts from the steady state of the first frame, so that its output for a
    still is zero from the first frame on. Otherwise b is trained directly and a sequence starts from zero.
    """

    def __init__(
        self,
        channels: int,
        rate_hz: float = CLIP_RATE_HZ,
        band_hz: tuple[float, float] = BAND_HZ,
        differential: bool = False,
        pole_radius: float = POLE_RADIUS,
    ) -> None:
        """The initial filters are band-passes over `band_hz`, with zero response to a still picture, as in Eulerian
        magnification."""
        super().__init__()
        if channels < 1:
            raise ValueError(f"DIIRF over {channels} channels: at least 1 is needed")
        rows = [peak_coefficients(f, rate_hz, QUALITY) for f in log_spaced(*band_hz, channels)]
        self.differential, self.pole_radius = differential, pole_radius
        if differential:
            # The band-passes have the numerator g (1 - z^-2).
            self.g = nn.Parameter(torch.tensor([row[0] for row in rows]))
            self.r = nn.Parameter(torch.full((channels,), -1.0))
        else:
            self.b = nn.Parameter(torch.tensor([row[:3] for row in rows]))
        self.p = nn.Parameter(torch.tensor([poles_to_parameters(row[3:], pole_radius) for row in rows]))

    def coefficients(self) -> Tensor:
        """float (K, 5): b0, b1, b2, a1, a2 of each channel."""
        p1, p2 = self.p.unbind(dim=1)
        a2 = (1.0 - STABILITY_MARGIN) * torch.tanh(p2)
        a1 = (1.0 - STABILITY_MARGIN) * (1.0 + a2) * torch.tanh(p1)
        a1, a2 = self.pole_radius * a1, self.pole_radius**2 * a2
        b = torch.stack([self.g, -self.g * (1.0 + self.r), self.g * self.r], dim=1) if self.differential else self.b
        return torch.cat([b, a1[:, None], a2[:, None]], dim=1)

    @torch.no_grad()
    def limit_poles(self, radius: float) -> None:
        """Gives the filters another largest radius; a pole beyond it moves inside, at the same frequency."""
        rows = [_inside(row, radius) for row in self.coefficients()[:, 3:].double().tolist()]
        self.pole_radius = radius
        self.p.copy_(torch.tensor([poles_to_parameters(row, radius) for row in rows]))

    def start(self) -> Tensor:
        """float (K, 2): s1 and s2, with which a sequence starts from h1 = s1 x and h2 = s2 x, x its first frame.

        For a differential filter this is the steady state of `scipy.signal.lfilter_zi`; otherwise zeros.
        """
        if not self.differential:
            return torch.zeros_like(self.p)
        # y = 0 in the steady state, so h2 = b2 x and h1 = b1 x + h2 = -b0 x.
        return torch.stack([-self.g, self.g * self.r], dim=1)

    def forward(self, x: Tensor, h1: Tensor, h2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`biquad` with the trained coefficients: x (N, T, K, H, W), h1 and h2 (N, K, H, W)."""
        return biquad(x, h1, h2, self.coefficients())


def started(x: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """The state before a sequence's first frame x, float (N, K, H, W), by `DIIRF.start`: h1 and h2 of its shape."""
    s1, s2 = start[:, :, None, None].unbind(dim=1)
    return s1 * x, s2 * x


def _inside(a: Sequence[float], radius: float) -> tuple[float, float]:
    """The denominator 1 + a1 z^-1 + a2 z^-2 with its poles within a radius."""
    a1, a2 = a
    root = cmath.sqrt(a1 * a1 - 4.0 * a2)
    poles = [(-a1 + sign * root) / 2.0 for sign in (1, -1)]
    first, second = (pole * min(1.0, _INSIDE * radius / max(abs(pole), 1e-9)) for pole in poles)
    return -(first + second).real, (first * second).real


def poles_to_parameters(a: Sequence[float], radius: float) -> tuple[float, float]:
    """p1, p2 for the denominator 1 + a1 z^-1 + a2 z^-2, or for the nearest one that they reach.

    The inverse of `DIIRF.coefficients`.
    """
    a1, a2 = a[0] / radius, a[1] / radius**2
    limit = 1.0 - STABILITY_MARGIN
    shares = a1 / (limit * (1.0 + a2)), a2 / limit
    first, second = (math.atanh(min(max(share, -_STEEP), _STEEP)) for share in shares)
    return first, second
