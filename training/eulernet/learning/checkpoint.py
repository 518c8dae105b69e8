# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: all that a run needs to resume. They are written atomically and loaded without running pickled code."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from eulernet.learning.settings import EULERNET
from eulernet.network import EulerNet, NetworkConfig
from eulernet.peers.systems import Network, peer_network
from eulernet_core.face_box import UNSTATED_BOX_SCALE
from eulernet_core.weights_label import WEIGHTS_UNTRAINED
from eulernet_core.whole_files import replacing

FORMAT = 1
# What files that were written before EulerNet had a choice do not state.
_FIRST_NETWORK: dict[str, Any] = {
    "stem": "plain",
    "block": "residual",
    "light_pyramid": False,
    "frame_difference": "none",
    "differential": False,
    "global_context": False,
    "change_maps": False,
    "box_scale": UNSTATED_BOX_SCALE,
    "pole_radius": 1.0,
    "score": "linear",
    "longest_sequence": 0,
}


class CheckpointError(Exception):
    """The file is not a checkpoint of this format; the message names the file and the cause."""


@dataclass
class AnyCheckpoint:
    """A run of any system after `epoch` epochs. `history`: a row per epoch; `label`: name of the weights."""

    network: Network
    epoch: int = 0
    label: str = WEIGHTS_UNTRAINED
    history: list[dict[str, float]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)


@dataclass
class Checkpoint(AnyCheckpoint):
    """A run of EulerNet."""

    network: EulerNet


def save(path: Path, checkpoint: AnyCheckpoint) -> None:
    """Writes the file atomically. The network's tensors are stored as CPU tensors, whatever device they are on."""
    network = checkpoint.network
    content = {
        "format": FORMAT,
        "system": system_name(network),
        "network": dataclasses.asdict(network.config),
        "state": {name: value.cpu() for name, value in network.state_dict().items()},
        **{name: getattr(checkpoint, name) for name in ("epoch", "label", "history", "settings", "optimizer")},
    }
    # A stream, because given a path torch.save puts the temporary file's random name into the archive.
    with replacing(path) as temporary, temporary.open("wb") as stream:
        torch.save(content, stream)


def load(path: Path) -> Checkpoint:
    """Reads a file of `save` with an EulerNet.

    Raises:
        CheckpointError: the file is missing, is not a checkpoint of this format, or is another system's.
    """
    found = load_any(path)
    if not isinstance(found, Checkpoint):
        raise CheckpointError(f"{path}: a checkpoint of {found.network.title}; give one of EulerNet")
    return found


def load_any(path: Path) -> AnyCheckpoint:
    """Reads a file of `save`: a `Checkpoint` if its system is EulerNet.

    Raises:
        CheckpointError: the file is missing, or is not a checkpoint of this format.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; `eulernet train` writes best.pt and last.pt")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != FORMAT:
            raise CheckpointError(f"{path}: checkpoint format {content['format']}, this version reads {FORMAT}")
        config: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in content["network"].items()
        }
        network = _network(content.get("system", EULERNET), config)
        network.load_state_dict(content["state"])
    except CheckpointError:
        raise
    except Exception as error:  # the unpickler raises exceptions of many types
        raise CheckpointError(f"{path}: not a checkpoint of this project ({type(error).__name__}: {error})") from error
    rest = {name: content[name] for name in ("epoch", "label", "history", "settings", "optimizer")}
    network.eval()
    return Checkpoint(network, **rest) if isinstance(network, EulerNet) else AnyCheckpoint(network, **rest)


def _network(system: str, config: dict[str, Any]) -> Network:
    return EulerNet(NetworkConfig(**(_FIRST_NETWORK | config))) if system == EULERNET else peer_network(system, config)


def system_name(network: Network) -> str:
    """The name of a network's system in recipes and checkpoints."""
    return EULERNET if isinstance(network, EulerNet) else network.name
