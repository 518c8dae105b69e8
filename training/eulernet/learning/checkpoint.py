"""Checkpoints: everything that a run needs to go on, written whole or not at all; loaded without running code."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from eulernet.network import EulerNet, NetworkConfig

FORMAT = 1


class CheckpointError(Exception):
    """The file is no checkpoint that this version reads; the message says which and why."""


@dataclass
class Checkpoint:
    """A run after `epoch` epochs. `history`: a row an epoch; `label`: what the weights are called."""

    network: EulerNet
    epoch: int = 0
    label: str = "untrained"
    history: list[dict[str, float]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Writes the file beside its place and renames it; the network as CPU tensors, wherever it is."""
    content = {
        "format": FORMAT,
        "network": dataclasses.asdict(checkpoint.network.config),
        "state": {name: value.cpu() for name, value in checkpoint.network.state_dict().items()},
        **{name: getattr(checkpoint, name) for name in ("epoch", "label", "history", "settings", "optimizer")},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    torch.save(content, beside)
    beside.replace(path)


def load(path: Path) -> Checkpoint:
    """Reads what `save` wrote.

    Raises:
        CheckpointError: there is no such file, or it is not a checkpoint of this format.
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
        network = EulerNet(NetworkConfig(**config))
        network.load_state_dict(content["state"])
    except CheckpointError:
        raise
    except Exception as error:  # torch raises whatever its unpickler happens to meet
        raise CheckpointError(f"{path}: not a checkpoint of EulerNet ({type(error).__name__}: {error})") from error
    rest = {name: content[name] for name in ("epoch", "label", "history", "settings", "optimizer")}
    return Checkpoint(network.eval(), **rest)
