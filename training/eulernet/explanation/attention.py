# SPDX-License-Identifier: Apache-2.0
"""Intermediate values of the network while it scores a clip: FCAM's filters and gates, and the gated features.

Hooks read the values, so that the network and its exported graph do not change.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eulernet.fcam import FCAM
from eulernet.network import EulerNet

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Crops = NDArray[np.uint8]
FILTERED = 1  # place of the filtered maps, (T, K, H, W), in the outputs of an FCAM


@dataclass(frozen=True)
class Attention:
    """Values for one clip, levels from fine to coarse.

    crops: uint8 (T, S, S, 3), RGB.
    filtered: per level the output of the DIIRF, fp32 (T, K, S_l, S_l); empty for a network without FCAM.
    gates: per level its sigmoid, the factor of the features; 0.5 without change.
    features: per level the mean |value| over the channels of the pyramid's input, fp32 (T, S_l, S_l).
    location_map: fp32 (T, M, M); liveness: fp32 (T,).
    """

    crops: Crops
    filtered: list[Floats]
    gates: list[Floats]
    features: list[Floats]
    location_map: Floats
    liveness: Floats


def attend(network: EulerNet, crops: Crops) -> Attention:
    """Scores a clip, uint8 (T, S, S, 3) RGB, from its start, with S the network's image size."""
    filtered: list[Tensor] = []
    levels: list[Tensor] = []

    def keep_filtered(module: Any, inputs: Any, outputs: tuple[Tensor, ...]) -> None:
        filtered.append(outputs[FILTERED])

    def keep_levels(module: Any, inputs: tuple[list[Tensor]]) -> None:
        levels.extend(inputs[0])

    with ExitStack() as hooks, torch.inference_mode():
        for fcam in _fcams(network):
            hooks.callback(fcam.register_forward_hook(keep_filtered).remove)
        hooks.callback(network.neck.register_forward_pre_hook(keep_levels).remove)
        prediction = network(torch.from_numpy(crops)[None])
    return Attention(
        crops,
        filtered=[y.numpy() for y in filtered],
        gates=[torch.sigmoid(y).numpy() for y in filtered],
        features=[level.abs().mean(dim=1).numpy() for level in levels],
        location_map=prediction.location_map[0].numpy(),
        liveness=prediction.liveness[0].numpy(),
    )


def coefficients(network: EulerNet) -> list[Doubles]:
    """The trained filters of each level, float64 (K, 5): b0, b1, b2, a1, a2 of each channel."""
    with torch.inference_mode():
        return [fcam.filter.coefficients().double().numpy() for fcam in _fcams(network)]


def _fcams(network: EulerNet) -> list[FCAM]:
    return [module for module in network.fcams if isinstance(module, FCAM)]


def response(filters: Doubles, frequencies_hz: Doubles, rate_hz: float) -> Doubles:
    """Magnitude response of each filter: |H(z)| at z = exp(2 pi i f / rate).

    H(z) = (b0 + b1 z^-1 + b2 z^-2) / (1 + a1 z^-1 + a2 z^-2)

    Args:
        filters: float64 (K, 5), a result of `coefficients`.
        frequencies_hz: float64 (F,).
        rate_hz: the filter's sampling rate, frames/s.

    Returns:
        float64 (K, F).
    """
    delay = np.exp(-2j * np.pi * frequencies_hz / rate_hz)
    powers = np.stack([np.ones_like(delay), delay, delay**2])
    above, below = filters[:, :3] @ powers, 1.0 + filters[:, 3:] @ powers[1:]
    return np.asarray(np.abs(above / below), np.float64)
