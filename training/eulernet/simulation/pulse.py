# SPDX-License-Identifier: Apache-2.0
"""The pulse in the skin's colour (remote photoplethysmography).

Channel signature: de Haan and Jeanne 2013 (blood volume vector, strongest in green). Waveform: a systolic and a
dicrotic Gaussian per beat, after McSharry et al. 2003; about 1 % of the skin's brightness, strongest on forehead and
cheeks.
"""

from dataclasses import dataclass

import numpy as np

from eulernet.simulation import head
from eulernet.simulation.randomness import Floats

_SIGNATURE = np.array([0.43, 1.0, 0.69], np.float32)


@dataclass(frozen=True)
class Pulse:
    """A heart: rate in Hz, amplitude as a share of the green channel, phase of the first frame in beats."""

    rate_hz: float
    amplitude: float
    phase: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Pulse":
        """A heart at rest."""
        return cls(float(rng.uniform(52, 105) / 60), float(rng.uniform(0.005, 0.011)), float(rng.random()))

    def at(self, time_s: float) -> float:
        """Blood volume at a time, -1 to 1."""
        beat = (self.phase + time_s * self.rate_hz) % 1.0
        wave = sum(
            height * np.exp(-0.5 * ((beat - centre + wrap) / width) ** 2)
            for height, centre, width in ((1.0, 0.30, 0.11), (0.42, 0.62, 0.12))
            for wrap in (-1, 0, 1)
        )
        return float(2.0 * wave / 1.02 - 0.85)

    def gain(self, time_s: float, where: Floats) -> Floats:
        """Factor of the skin's colour: float32 (..., 3), for a spatial amplitude (...,)."""
        return np.asarray(1 - self.amplitude * self.at(time_s) * where[..., None] * _SIGNATURE, np.float32)


def spatial_amplitude(hair: Floats) -> Floats:
    """Amplitude of the pulse at each vertex, float32 (ROWS, COLUMNS), 0 in the hair."""
    points = head.mean_head()
    strength = np.full(points.shape[:2], 0.55, np.float32)
    for centre in ((0.0, -0.28, 0.24), (0.30, 0.22, 0.30), (-0.30, 0.22, 0.30)):
        bump = head.Bump(centre, (0.2, 0.14, 0.3))(points)
        strength += 0.5 * bump
    return np.asarray(strength * (1 - hair), np.float32)
