# SPDX-License-Identifier: Apache-2.0
"""The systems other than EulerNet by their names in recipes and checkpoints."""

from collections.abc import Mapping
from typing import Any

import torch

from eulernet.learning.settings import PeerSettings, Settings
from eulernet.network import EulerNet
from eulernet.peers.cdcn import CDCN, CDCNSystem
from eulernet.peers.deep_pix_bis import DeepPixBiS, DeepPixBiSSystem
from eulernet.peers.disentangled import Disentangled, DisentangledSystem
from eulernet.peers.fas_sgtd import FASSGTD, FASSGTDSystem
from eulernet.peers.minifasnet_training import MiniFASNetPair, MiniFASNetSystem
from eulernet.peers.peer_network import PeerNetwork
from eulernet.peers.peer_system import PeerSystem

Network = EulerNet | PeerNetwork
NETWORKS: dict[str, type[PeerNetwork]] = {
    each.name: each for each in (DeepPixBiS, CDCN, FASSGTD, Disentangled, MiniFASNetPair)
}
SYSTEMS: dict[str, type[PeerSystem]] = {
    DeepPixBiS.name: DeepPixBiSSystem,
    CDCN.name: CDCNSystem,
    FASSGTD.name: FASSGTDSystem,
    Disentangled.name: DisentangledSystem,
    MiniFASNetPair.name: MiniFASNetSystem,
}


def create_peer(name: str, config: PeerSettings, seed: int) -> PeerNetwork:
    """An untrained network; on one machine, a seed determines its parameters.

    Raises:
        SettingsError: the system can't have this size.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[name](config)


def peer_network(name: str, config: Mapping[str, Any]) -> PeerNetwork:
    """A network with the configuration of a checkpoint.

    Raises:
        KeyError, TypeError: this version has no such system or setting.
    """
    return create_peer(name, PeerSettings(**config), 0)


def peer_system(network: PeerNetwork, settings: Settings, device: torch.device) -> PeerSystem:
    """The way in which a network's system learns. Raises: SettingsError for settings that it can't have."""
    return SYSTEMS[network.name](network, settings, device)
