# SPDX-License-Identifier: Apache-2.0
"""The mean of several runs' weights, where each run continued from the same ones.

Between weights and their continuation on another task lie weights that are good at both (Wortsman et al., "Robust
fine-tuning of zero-shot models", 2022). The normalisations' statistics are no mean of the runs' and are measured anew
(Izmailov et al., "Averaging weights leads to wider optima and better generalization", 2018).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.optim.swa_utils import update_bn

from eulernet.learning.augmentation import augment, to_float, to_network
from eulernet.learning.eulernet_system import training_clips
from eulernet.learning.feed import Clips, gather
from eulernet.learning.graphs import Logits
from eulernet.learning.settings import Settings
from eulernet.learning.stretches import drawn_frames
from eulernet.learning.system import Batch
from eulernet.learning.trainer import draw_weights
from eulernet.network import EulerNet


def average(networks: Sequence[EulerNet], shares: Sequence[float]) -> EulerNet:
    """The mean of networks of one structure, in the first one. `shares`: a positive number for each.

    Raises:
        ValueError: no share for each network, or one that is not positive.
    """
    if len(shares) != len(networks) or not all(share > 0 for share in shares):
        raise ValueError(f"{len(networks)} networks and the shares {list(shares)}: give a positive one for each")
    states = [network.state_dict() for network in networks]
    parts = [share / sum(shares) for share in shares]
    mean = {
        name: sum(part * state[name] for part, state in zip(parts, states, strict=True))
        for name, value in states[0].items()
        if value.is_floating_point()
    }
    networks[0].load_state_dict(states[0] | mean)
    return networks[0]


def renormalise(network: EulerNet, settings: Settings, clips: Clips, batches: int) -> None:
    """Sets the normalisations' statistics to their mean over batches of training clips, drawn by the recipe's seed."""
    update_bn(_pictures(settings, clips, batches), Logits(network, None))
    network.eval()


def _pictures(settings: Settings, clips: Clips, batches: int) -> Iterator[Tensor]:
    """Batches as in training, without a past: float (K, T, 3, H, H), normalised."""
    data, size = replace(settings.data, longest_past=0), settings.optimizer.batch_size
    weights = draw_weights(settings, clips)
    weights = torch.ones(len(clips)) if weights is None else weights
    generator = torch.Generator().manual_seed(settings.seed)
    for _ in range(batches):
        chosen = torch.multinomial(weights, size, replacement=True, generator=generator)
        frames = drawn_frames(size, data, generator) if data.stretch_frames else None
        batch = Batch(*gather(clips, chosen.tolist(), frames))
        windows, targets = training_clips(batch, settings, generator)
        seen, _ = augment(to_float(windows), targets, settings.augmentation, generator)
        yield to_network(seen)
