# SPDX-License-Identifier: Apache-2.0
"""The temporal filter of the magnification: a causal Butterworth band-pass on every pixel.

It runs forward in time, so that a video of any length needs the memory of a few frames. Its two sections have zeros at
0 Hz and at half the frame rate: b1 = 0 and b2 = -b0, the initial form of the trained filter `eulernet.diirf`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import signal

Floats = NDArray[np.float32]
_ORDER = 2  # 12 dB per octave on each side: steep enough outside the band, and settles within one or two periods


class Section(NamedTuple):
    """A biquad with numerator b0 (1 - z^-2) and denominator 1 + a1 z^-1 + a2 z^-2."""

    b0: float
    a1: float
    a2: float


def butterworth(low_hz: float, high_hz: float, rate_fps: float) -> list[Section]:
    """A band-pass of gain 1 inside and 1/sqrt(2) at `low_hz` and `high_hz`, for 0 < low < high < rate / 2."""
    _, poles, gain = signal.butter(_ORDER, (low_hz, high_hz), "bandpass", fs=rate_fps, output="zpk")
    share = float(gain) ** (1 / _ORDER)
    # All poles are complex, in conjugate pairs. Each section has one pair, and one zero at each end of the spectrum.
    return [Section(share, -2.0 * float(pole.real), float(abs(pole) ** 2)) for pole in poles if pole.imag > 0]


class BandPass:
    """Filters a sequence of arrays. The initial state is the steady state for the first array, whose output is 0."""

    def __init__(self, sections: list[Section], first: Floats) -> None:
        """first: float32, of the shape of all arrays."""
        self._sections = sections
        rest = -np.float32(sections[0].b0) * first
        silence = [(np.zeros_like(first), np.zeros_like(first)) for _ in sections[1:]]
        self._states = [(rest, rest), *silence]

    def __call__(self, x: Floats) -> Floats:
        """The output for the next array, direct form II transposed, as in `eulernet.diirf.biquad`."""
        for i, (b0, a1, a2) in enumerate(self._sections):
            h1, h2 = self._states[i]
            driven = np.float32(b0) * x
            y = driven + h1
            self._states[i] = h2 - np.float32(a1) * y, -driven - np.float32(a2) * y
            x = y
        return x
