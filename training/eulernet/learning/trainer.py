# SPDX-License-Identifier: Apache-2.0
"""The training loop. A killed run resumes and loses at most one epoch; on a CPU, a seed determines the weights."""

import csv
import dataclasses
import io
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from eulernet.device import compute_device
from eulernet.learning.augmentation import augment, cosine_rate, cut_windows, epoch_generator, to_float, to_network
from eulernet.learning.checkpoint import Checkpoint, CheckpointError, load, save
from eulernet.learning.epoch_choice import best_epoch, clip_eer
from eulernet.learning.feed import Clips, Feed, batches
from eulernet.learning.graphs import GraphedLogits, Logits
from eulernet.learning.losses import clip_loss
from eulernet.learning.settings import OptimizerSettings, Settings
from eulernet.network import EulerNet, create
from eulernet_core.attack_detection_metrics import MetricsError
from eulernet_core.whole_files import sha256_of, write_whole_text

LAST, BEST, HISTORY = "last.pt", "best.pt", "history.csv"
Report = Callable[[str], None]
Step = Callable[[], object]


class TrainingError(Exception):
    """The run can't start or continue; the message gives the cause and the remedy."""


def autocast_dtype(choice: str, device: torch.device) -> torch.dtype | None:
    """bfloat16, or None for float32 throughout."""
    if choice == "off":
        return None
    if choice == "auto" and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return None
    return torch.bfloat16


class Trainer:
    """One run in one folder.

    Args:
        settings: of the run.
        train_set: the clips to learn from.
        dev_set: the clips that select the epoch; never trained on.
        out: folder for last.pt, best.pt, history.csv and TensorBoard's files.
        label: name of the weights.
        start_from: a checkpoint with the initial weights, in place of random ones; its optimizer state is not used.

    Raises:
        TrainingError: a set lacks bona fide clips or attacks, or `out` or `start_from` belongs to another network or
            other settings.
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
        self.settings, self.train_set, self.dev_set, self.out = settings, train_set, dev_set, out
        self.device = compute_device()
        self.autocast = autocast_dtype(settings.optimizer.autocast, self.device)
        network = create(settings.seed, settings.network) if start_from is None else _start(settings, start_from)
        made_of = dataclasses.asdict(settings)
        if start_from is not None:
            made_of["start_from"] = sha256_of(start_from)
        self.checkpoint = self._resume(made_of) or Checkpoint(network, label=label, settings=made_of)
        # Channels last: on a CPU a step on windows of 96 px takes four fifths of the time.
        self.network = self.checkpoint.network.to(self.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = _optimizer(self.network, settings.optimizer, self.device)
        self._train_feed, self._dev_feed = (Feed(clips, self.device) for clips in (train_set, dev_set))
        self._logits = Logits(self.network, self.autocast)
        self._train_logits = GraphedLogits(self._logits) if self.device.type == "cuda" else self._logits
        self._step: Step = lambda: None
        if self.checkpoint.optimizer:
            self.optimizer.load_state_dict(self.checkpoint.optimizer)

    def _resume(self, made_of: dict[str, Any]) -> Checkpoint | None:
        path = self.out / LAST
        if not path.exists():
            return None
        try:
            checkpoint = load(path)
        except CheckpointError as error:
            raise TrainingError(f"{error}; remove it to start again") from error
        if checkpoint.settings != made_of:
            raise TrainingError(
                f"{self.out} holds a run with other settings or other initial weights: "
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

    def run(self, report: Report = lambda line: None, step: Step = lambda: None) -> Checkpoint:
        """Trains the remaining epochs.

        Args:
            report: gets a line after each epoch.
            step: called after each batch.

        Returns:
            The checkpoint after the last epoch.
        """
        self._step = step
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
        train_loss = self._learn(self.checkpoint.epoch)
        dev_loss, dev_eer = self._judge()
        checkpoint = self.checkpoint
        checkpoint.epoch += 1
        row = {
            "epoch": float(checkpoint.epoch),
            "train_loss": train_loss,
            "dev_loss": dev_loss,
            "dev_eer": dev_eer,
            "seconds": time.monotonic() - begun,
        }
        checkpoint.history.append(row)
        checkpoint.optimizer = self.optimizer.state_dict()
        if best_epoch(checkpoint.history) is row:
            save(self.out / BEST, checkpoint)
        write_history(self.out / HISTORY, checkpoint.history)
        save(self.out / LAST, checkpoint)
        return row

    def _learn(self, epoch: int) -> float:
        self.network.train()
        optimizer = self.settings.optimizer
        warmup_steps = max(1, round(optimizer.warmup_epochs * self.steps_per_epoch))
        steps = optimizer.epochs * self.steps_per_epoch
        order = torch.randperm(self._windows, generator=epoch_generator(self.settings.seed, epoch, 0))
        total = 0.0
        for number, indices in enumerate(torch.split(order % len(self.train_set), optimizer.batch_size)):
            done = epoch * self.steps_per_epoch + number
            for group in self.optimizer.param_groups:
                group["lr"] = optimizer.learning_rate * cosine_rate(done, steps, warmup_steps)
            clips, targets, _ = self._train_feed.batch(indices.tolist())
            generator, augmentation = epoch_generator(self.settings.seed, epoch, number + 1), self.settings.augmentation
            # Windows are cut first: 16 whole clips as float32 are 50 MB.
            clips, targets = cut_windows(clips, targets, augmentation, generator)
            clips, targets = clips.to(self.device), targets.to(self.device)
            clips, targets = augment(to_float(clips), targets, augmentation, generator)
            loss = clip_loss(self._train_logits(to_network(clips)), targets, self.settings.loss)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), optimizer.gradient_norm)
            self.optimizer.step()
            # Read last, because reading waits for the GPU.
            value = float(loss.detach())
            if not math.isfinite(value):
                raise TrainingError(f"the loss is not finite in epoch {epoch + 1}: lower learning_rate")
            total += value * len(indices)
            self._step()
        return total / self._windows

    @torch.inference_mode()
    def _judge(self) -> tuple[float, float]:
        """Loss and equal error rate on the dev set, from each clip's last frame."""
        self.network.eval()
        losses, scores, lives = 0.0, [], []
        for indices in batches(len(self.dev_set), self.settings.optimizer.batch_size):
            clips, targets, live = self._dev_feed.batch(indices)
            logits = self._logits(to_network(to_float(clips.to(self.device))))
            losses += float(clip_loss(logits, targets.to(self.device), self.settings.loss)) * len(indices)
            scores.append(self.network.liveness(torch.sigmoid(logits.float()))[:, -1].cpu())
            lives.append(live.cpu())
        try:
            eer = clip_eer(torch.cat(scores).numpy(), torch.cat(lives).numpy() > 0.5)
        except MetricsError as error:
            raise TrainingError(f"dev scores of epoch {self.checkpoint.epoch + 1}: {error}") from error
        return losses / len(self.dev_set), eer


def _require_both_classes(name: str, clips: Clips) -> None:
    found = {clips.video(i).live for i in range(len(clips))}
    if len(found) < 2:
        lacking = "clips" if not found else "attacks" if found == {True} else "bona fide clips"
        raise TrainingError(
            f"the {name} set of {len(clips)} clips has no {lacking}: it needs both bona fide and attacks"
        )


def _optimizer(network: EulerNet, settings: OptimizerSettings, device: torch.device) -> torch.optim.Optimizer:
    """AdamW. Weight decay acts on convolutions only, not on biases, norms and filter coefficients."""
    decayed = [p for p in network.parameters() if p.ndim == 4]
    rest = [p for p in network.parameters() if p.ndim != 4]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=device.type == "cuda" or None)


def _start(settings: Settings, path: Path) -> EulerNet:
    try:
        network = load(path).network
    except CheckpointError as error:
        raise TrainingError(str(error)) from error
    wanted, found = (dataclasses.asdict(each) for each in (settings.network, network.config))
    differing = [f"{name} = {found[name]}, wanted {wanted[name]}" for name in wanted if wanted[name] != found[name]]
    if differing:
        raise TrainingError(f"{path} is another network ({'; '.join(differing)}): set these values in [network]")
    return network


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
