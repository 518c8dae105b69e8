# SPDX-License-Identifier: Apache-2.0
"""Motion of people and hands: smooth random paths, sums of sines with amplitudes decreasing with frequency.

Blinks take 100 to 300 ms and close faster than they open (Guitton et al. 1991); speech opens the mouth 2 to 6 times a
second.
"""

from dataclasses import dataclass

import numpy as np

from eulernet.simulation.features import Expression
from eulernet.simulation.randomness import Floats

_RATES_HZ = np.array([0.25, 0.45, 0.8, 1.3, 2.1, 3.4])


class Path:
    """A smooth random function of time with `channels` values of about unit variance."""

    def __init__(self, rng: np.random.Generator, channels: int, exponent: float = 1.0) -> None:
        self._rates = _RATES_HZ * rng.uniform(0.85, 1.15, (channels, len(_RATES_HZ)))
        self._phases = rng.uniform(0, 2 * np.pi, self._rates.shape)
        weights = self._rates**-exponent * rng.normal(1, 0.3, self._rates.shape)
        self._weights = weights / np.sqrt((weights**2).sum(1, keepdims=True) / 2)

    def __call__(self, time_s: float) -> Floats:
        """float32 (channels,)."""
        waves = self._weights * np.sin(2 * np.pi * self._rates * time_s + self._phases)
        return np.asarray(waves.sum(1), np.float32)


@dataclass(frozen=True)
class Pose:
    """A head: yaw, pitch, roll in radians, shift in widths of the face, expression, smile and brows 0 to 1."""

    turn: tuple[float, float, float]
    shift: tuple[float, float, float]
    expression: Expression
    smile: float = 0.0
    brows: float = 0.0


class Person:
    """Motion of one person during one video."""

    def __init__(self, rng: np.random.Generator, duration_s: float) -> None:
        self._rigid = Path(rng, 6, 1.1)
        self._face = Path(rng, 5, 0.6)
        liveliness = float(rng.uniform(0.6, 1.5))
        self._turn = np.deg2rad([6.5, 4.0, 2.2]) * liveliness
        self._shift = np.array([0.030, 0.022, 0.035]) * liveliness
        self._base = np.deg2rad(rng.normal(0, [5.0, 4.0, 2.5]))
        self._talks = float(rng.uniform(0.35, 1.0)) if rng.random() < 0.5 else float(rng.uniform(0.0, 0.12))
        self._syllables_hz = float(rng.uniform(2.2, 5.0))
        self._smile = float(rng.uniform(0, 0.8))
        self._gaze_at = rng.normal(0, 0.18, 2)
        self._blinks = self._draw_blinks(rng, duration_s)
        self._saccades = np.sort(rng.uniform(0, duration_s, rng.integers(0, 3)))
        self._gazes = rng.normal(0, 0.22, (len(self._saccades) + 1, 2))

    @staticmethod
    def _draw_blinks(rng: np.random.Generator, duration_s: float) -> list[tuple[float, float]]:
        """(time of the closed lid, duration in s); the rate is higher than at rest, as in front of a camera."""
        blinks, now = [], float(rng.exponential(0.9)) - 0.25
        while now < duration_s + 0.1:
            blinks.append((now, float(rng.uniform(0.16, 0.30))))
            now += 0.35 + float(rng.exponential(1.3))
        return blinks

    def lids(self, time_s: float) -> float:
        """Closure of the lids, 0 to 1."""
        closed = 0.0
        for middle, length in self._blinks:
            x = (time_s - middle) / length
            width = 0.16 if x < 0 else 0.30
            closed = max(closed, float(np.exp(-0.5 * (x / width) ** 4)))
        return closed

    def pose(self, time_s: float) -> Pose:
        """Pose of the person at a time."""
        rigid, face = self._rigid(time_s), self._face(time_s)
        turn = self._base + self._turn * rigid[:3]
        shift = self._shift * rigid[3:]
        beat = 0.5 + 0.5 * np.sin(2 * np.pi * self._syllables_hz * time_s + 2 * face[0])
        mouth = self._talks * beat * float(np.clip(0.55 + 0.4 * face[1], 0, 1)) + 0.03
        gaze = self._gazes[int(np.searchsorted(self._saccades, time_s))] + self._gaze_at - 1.2 * turn[:2] * [-1, 1]
        lids = max(self.lids(time_s), float(np.clip(0.06 + 0.05 * face[2] + 0.5 * max(gaze[1], 0), 0, 0.3)))
        return Pose(
            turn=(float(turn[0]), float(turn[1]), float(turn[2])),
            shift=(float(shift[0]), float(shift[1]), float(shift[2])),
            expression=Expression(lids, (float(np.clip(gaze[0], -1, 1)), float(np.clip(gaze[1], -1, 1))), mouth),
            smile=self._smile * float(np.clip(0.6 + 0.4 * face[3], 0, 1)),
            brows=float(np.clip(0.3 * face[4], 0, 1)),
        )
