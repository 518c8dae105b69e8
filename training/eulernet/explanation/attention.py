"""What happens inside the network while it scores a clip: FCAM's filters and gates, and the features that go on.

Read off by hooks, so that the network, and the graph exported from it, stay as they are.
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


@dataclass(frozen=True)
class Attention:
    """One clip's way through the network, levels from fine to coarse.

    crops: uint8 (T, S, S, 3), RGB.
    filtered: per level what the DIIRF answers, fp32 (T, K, S_l, S_l); none where the network has no FCAM.
    gates: per level its sigmoid, which the features are multiplied by; 0.5 where nothing changes.
    features: per level the mean |value| over the channels of what goes on to the pyramid, fp32 (T, S_l, S_l).
    location_map: fp32 (T, M, M); liveness: fp32 (T,).
    """

    crops: Crops
    filtered: list[Floats]
    gates: list[Floats]
    features: list[Floats]
    location_map: Floats
    liveness: Floats


def attend(network: EulerNet, crops: Crops) -> Attention:
    """Scores a clip, uint8 (T, S, S, 3) RGB, from zero state, with S the network's image size."""
    filtered: list[Tensor] = []
    levels: list[Tensor] = []

    def keep_filtered(module: Any, inputs: Any, outputs: tuple[Tensor, Tensor, Tensor]) -> None:
        filtered.append(outputs[0][0])

    def keep_levels(module: Any, inputs: tuple[list[Tensor]]) -> None:
        levels.extend(inputs[0])

    with ExitStack() as hooks, torch.inference_mode():
        for fcam in _fcams(network):
            hooks.callback(fcam.filter.register_forward_hook(keep_filtered).remove)
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
    """The trained filters of each level, float64 (K, 5): b0, b1, b2, a1, a2 a channel."""
    with torch.inference_mode():
        return [fcam.filter.coefficients().double().numpy() for fcam in _fcams(network)]


def _fcams(network: EulerNet) -> list[FCAM]:
    return [module for module in network.fcams if isinstance(module, FCAM)]


def response(filters: Doubles, frequencies_hz: Doubles, rate_hz: float) -> Doubles:
    """How much each filter lets through of each frequency: |H(z)| at z = exp(2 pi i f / rate).

    H(z) = (b0 + b1 z^-1 + b2 z^-2) / (1 + a1 z^-1 + a2 z^-2)

    Args:
        filters: float64 (K, 5), as `coefficients` gives them.
        frequencies_hz: float64 (F,).
        rate_hz: frames a second that the filter sees.

    Returns:
        float64 (K, F).
    """
    delay = np.exp(-2j * np.pi * frequencies_hz / rate_hz)
    powers = np.stack([np.ones_like(delay), delay, delay**2])
    above, below = filters[:, :3] @ powers, 1.0 + filters[:, 3:] @ powers[1:]
    return np.asarray(np.abs(above / below), np.float64)
