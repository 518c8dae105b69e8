# SPDX-License-Identifier: Apache-2.0
"""The training loop. A killed run resumes and loses at most one epoch; on a CPU, a seed determines the weights."""

import csv
import dataclasses
import hashlib
import io
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eulernet.device import compute_device, keep_freed_memory
from eulernet.learning.augmentation import epoch_generator
from eulernet.learning.checkpoint import AnyCheckpoint, CheckpointError, load, load_any, save, system_name
from eulernet.learning.epoch_choice import EpochRow, best_epoch, clip_eer
from eulernet.learning.eulernet_system import EulerNetSystem
from eulernet.learning.feed import Clips, Feed, batches
from eulernet.learning.settings import EULERNET, Settings
from eulernet.learning.stretches import drawn_frames
from eulernet.learning.system import Batch, System
from eulernet.learning.widened_clips import widened
from eulernet.network import EulerNet, create
from eulernet.peers.systems import Network, create_peer, peer_system
from eulernet_core.attack_detection_metrics import MetricsError
from eulernet_core.whole_files import sha256_of, write_whole_text

LAST, BEST, HISTORY = "last.pt", "best.pt", "history.csv"
STATES = "states"  # of the optimizers, in a checkpoint
Report = Callable[[str], None]
Step = Callable[[], object]


class TrainingError(Exception):
    """The run can't start or continue; the message gives the cause and the remedy."""


class Trainer:
    """One run of one system in one folder.

    Args:
        settings: of the run.
        train_set: the clips to learn from.
        dev_set: the clips that select the epoch; never trained on.
        out: folder for last.pt, best.pt, history.csv and TensorBoard's files.
        label: name of the weights.
        start_from: a checkpoint with the initial weights, in place of random ones; its optimizer state is not used.

    Raises:
        TrainingError: a set lacks bona fide clips or attacks, or `out` or `start_from` belongs to another network,
            other settings or other videos.
        SettingsError: the system can't have such settings.
    """

    def __init__(
        self,
        settings: Settings,
        train_set: Clips,
        dev_set: Clips,
        out: Path,
        label: str,
        start_from: Path | None = None,
    ) -> None:
        for name, clips in (("train", train_set), ("dev", dev_set)):
            _require_both_classes(name, clips)
        dev_set = widened(dev_set, settings.twins)
        self.settings, self.train_set, self.dev_set, self.out = settings, train_set, dev_set, out
        self.device = compute_device()
        network = create_network(settings) if start_from is None else start_network(settings, start_from)
        made_of = dataclasses.asdict(settings) | {"clips": _digest(train_set, dev_set)}
        if start_from is not None:
            made_of["start_from"] = sha256_of(start_from)
        self.checkpoint = self._resume(made_of) or AnyCheckpoint(network, label=label, settings=made_of)
        # Channels last: on a CPU a step on windows of 96 px takes four fifths of the time.
        self.network: Network = self.checkpoint.network.to(self.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.system = _system(self.network, settings, self.device)
        self.optimizers = self.system.optimizers()
        self._largest_rates = [[group["lr"] for group in each.param_groups] for each in self.optimizers]
        self._train_feed, self._dev_feed = (Feed(clips, self.device) for clips in (train_set, dev_set))
        self._draw_weights = draw_weights(settings, train_set)
        self._step: Step = lambda: None
        for optimizer, state in zip(self.optimizers, self.checkpoint.optimizer.get(STATES, ()), strict=False):
            optimizer.load_state_dict(state)

    def _resume(self, made_of: dict[str, Any]) -> AnyCheckpoint | None:
        path = self.out / LAST
        if not path.exists():
            return None
        try:
            checkpoint = load_any(path)
        except CheckpointError as error:
            raise TrainingError(f"{error}; remove it to start again") from error
        if checkpoint.settings != made_of:
            raise TrainingError(
                f"{self.out} holds a run with other settings, other videos or other initial weights: "
                f"choose another folder, or remove {path}"
            )
        return checkpoint

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one epoch; the last one may be smaller."""
        return -(-self._windows // self.settings.optimizer.batch_size)

    @property
    def _windows(self) -> int:
        return len(self.train_set) * self.settings.augmentation.windows_per_clip

    @property
    def steps_left(self) -> int:
        """Batches until the run is done."""
        return (self.settings.optimizer.epochs - self.checkpoint.epoch) * self.steps_per_epoch

    def best(self) -> EpochRow | None:
        """The best epoch so far of those after which the whole system has learned."""
        complete = self.checkpoint.history[self.system.first_complete_epoch() :]
        return best_epoch(complete) if complete else None

    def run(self, report: Report = lambda line: None, step: Step = lambda: None) -> AnyCheckpoint:
        """Trains the remaining epochs.

        Args:
            report: gets a line after each epoch.
            step: called after each batch.

        Returns:
            The checkpoint after the last epoch.
        """
        self._step = step
        keep_freed_memory()
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(self.out / "tensorboard"), purge_step=self.checkpoint.epoch) as board:
            while self.checkpoint.epoch < self.settings.optimizer.epochs:
                row = self._epoch()
                for name, value in row.items():
                    board.add_scalar(name, value, self.checkpoint.epoch)
                report(
                    f"epoch {self.checkpoint.epoch}/{self.settings.optimizer.epochs}: loss {row['train_loss']:.4f}, "
                    f"dev loss {row['dev_loss']:.4f}, dev EER {100 * row['dev_eer']:.2f} %, {row['seconds']:.0f} s"
                )
        return self.checkpoint

    def _epoch(self) -> dict[str, float]:
        begun = time.monotonic()
        train_loss, frames = self._learn(self.checkpoint.epoch)
        dev_loss, dev_eer = self._judge()
        checkpoint = self.checkpoint
        checkpoint.epoch += 1
        row = {
            "epoch": float(checkpoint.epoch),
            "train_loss": train_loss,
            "dev_loss": dev_loss,
            "dev_eer": dev_eer,
            "frames": float(frames),
            "seconds": time.monotonic() - begun,
        }
        checkpoint.history.append(row)
        checkpoint.optimizer = {STATES: [each.state_dict() for each in self.optimizers]}
        if self.best() is row:
            save(self.out / BEST, checkpoint)
        write_history(self.out / HISTORY, checkpoint.history)
        save(self.out / LAST, checkpoint)
        return row

    def _learn(self, epoch: int) -> tuple[float, int]:
        """The mean loss of an epoch, and the number of frames that the system saw."""
        self.network.train()
        optimizer = self.settings.optimizer
        warmup_steps = max(1, round(optimizer.warmup_epochs * self.steps_per_epoch))
        steps = optimizer.epochs * self.steps_per_epoch
        total, frames = 0.0, 0
        for number, indices in enumerate(torch.split(self._order(epoch), optimizer.batch_size)):
            step = epoch * self.steps_per_epoch + number
            self._set_rates(self.system.rate(step, steps, warmup_steps))
            generator = epoch_generator(self.settings.seed, epoch, number + 1)
            data = self.settings.data
            chosen = drawn_frames(len(indices), data, generator) if data.stretch_frames else None
            batch = Batch(*self._train_feed.batch(indices.tolist(), chosen))
            batch = self.system.select(batch, generator, step / steps).to(self.device)
            frames += batch.clips.shape[0] * batch.clips.shape[1]
            loss = self.system.learn(batch, self.optimizers, generator, step / steps)
            # Read last, because reading waits for the GPU.
            value = float(loss)
            if not math.isfinite(value):
                raise TrainingError(f"the loss is not finite in epoch {epoch + 1}: lower learning_rate")
            total += value * len(indices)
            self._step()
        return total / self._windows, frames

    def _order(self, epoch: int) -> Tensor:
        """The numbers of an epoch's clips: int64 (windows,)."""
        generator = epoch_generator(self.settings.seed, epoch, 0)
        if self._draw_weights is None:
            return torch.randperm(self._windows, generator=generator) % len(self.train_set)
        return torch.multinomial(self._draw_weights, self._windows, replacement=True, generator=generator)

    def _set_rates(self, factor: float) -> None:
        for optimizer, rates in zip(self.optimizers, self._largest_rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor

    @torch.inference_mode()
    def _judge(self) -> tuple[float, float]:
        """Loss and equal error rate on the dev set."""
        self.network.eval()
        losses, scores, lives = 0.0, [], []
        for indices in batches(len(self.dev_set), self.settings.optimizer.batch_size):
            batch = Batch(*self._dev_feed.batch(indices))
            judgement = self.system.judge(batch.to(self.device))
            losses += float(judgement.loss) * len(indices)
            scores.append(judgement.scores.cpu())
            lives.append(batch.live.cpu())
        try:
            eer = clip_eer(torch.cat(scores).numpy(), torch.cat(lives).numpy() > 0.5)
        except MetricsError as error:
            raise TrainingError(f"dev scores of epoch {self.checkpoint.epoch + 1}: {error}") from error
        return losses / len(self.dev_set), eer


def draw_weights(settings: Settings, clips: Clips) -> Tensor | None:
    """float (M,), or None if each clip is drawn alike. Raises: TrainingError if a class would never be drawn."""
    if not settings.data.draws:
        return None
    weights = torch.tensor([settings.data.draw_weight(clips.video(i).instrument) for i in range(len(clips))])
    live = torch.tensor([clips.video(i).live for i in range(len(clips))])
    if not (weights[live].sum() > 0 and weights[~live].sum() > 0):
        raise TrainingError("data.draws leaves out all bona fide clips or all attacks: give both a weight above 0")
    return weights


def _require_both_classes(name: str, clips: Clips) -> None:
    found = {clips.video(i).live for i in range(len(clips))}
    if len(found) < 2:
        lacking = "clips" if not found else "attacks" if found == {True} else "bona fide clips"
        raise TrainingError(
            f"the {name} set of {len(clips)} clips has no {lacking}: it needs both bona fide and attacks"
        )


def create_network(settings: Settings) -> Network:
    """The untrained network of a recipe's system. Raises: SettingsError if the system can't have its size."""
    if settings.system == EULERNET:
        return create(settings.seed, settings.network)
    return create_peer(settings.system, settings.peer, settings.seed)


def _system(network: Network, settings: Settings, device: torch.device) -> System:
    if isinstance(network, EulerNet):
        return EulerNetSystem(network, settings, device)
    return peer_system(network, settings, device)


def start_network(settings: Settings, path: Path) -> Network:
    """The network of a checkpoint, adapted to a recipe. Raises: TrainingError if it is of another kind."""
    try:
        network = load_any(path).network
    except CheckpointError as error:
        raise TrainingError(str(error)) from error
    section = "network" if settings.system == EULERNET else "peer"
    if system_name(network) != settings.system:
        raise TrainingError(f"{path} has the system {system_name(network)}, not {settings.system}: name another file")
    if isinstance(network, EulerNet):
        _adapt(network, settings)
    wanted, found = (dataclasses.asdict(each) for each in (getattr(settings, section), network.config))
    differing = [f"{name} = {found[name]}, wanted {wanted[name]}" for name in wanted if wanted[name] != found[name]]
    if differing:
        raise TrainingError(f"{path} is another network ({'; '.join(differing)}): set these values in [{section}]")
    return network


def _adapt(network: EulerNet, settings: Settings) -> None:
    """Gives a network the recipe's largest pole radius, longest sequence and score; it is calibrated after training."""
    wanted = settings.network
    if network.config.pole_radius != wanted.pole_radius:
        for fcam in network.fcams:
            fcam.filter.limit_poles(wanted.pole_radius)  # type: ignore[operator, union-attr]
    network.config = dataclasses.replace(
        network.config,
        score=wanted.score,
        pole_radius=wanted.pole_radius,
        longest_sequence=wanted.longest_sequence,
    )
    fresh = create(settings.seed, settings.network)
    network.threshold.copy_(fresh.threshold)
    network.scale.copy_(fresh.scale)


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Writes a CSV with a row for each epoch."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(history[0]))
    writer.writeheader()
    writer.writerows(history)
    write_whole_text(path, text.getvalue())


def best_network(out: Path) -> EulerNet:
    """The network of the best epoch of a run."""
    return load(out / BEST).network


def _digest(*sets: Clips) -> str:
    """Of the videos that the clips are from, with their labels."""
    videos = [[(clips.video(i).name, clips.video(i).label) for i in range(len(clips))] for clips in sets]
    return hashlib.sha256(json.dumps(videos).encode()).hexdigest()[:16]
