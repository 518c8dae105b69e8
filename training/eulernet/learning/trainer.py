"""The training loop: resumable after a kill at the cost of one epoch, best epoch by dev EER, and on a CPU the same bits
for the same seed."""

import csv
import dataclasses
import hashlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eulernet.device import compute_device
from eulernet.learning.augmentation import augment, cosine_rate, cut_windows, epoch_generator, to_float, to_network
from eulernet.learning.checkpoint import Checkpoint, CheckpointError, load, save
from eulernet.learning.feed import Clips, Feed, batches
from eulernet.learning.graphs import GraphedLogits, Logits
from eulernet.learning.losses import clip_loss
from eulernet.learning.settings import Settings
from eulernet.network import EulerNet, create

LAST, BEST, HISTORY = "last.pt", "best.pt", "history.csv"
Report = Callable[[str], None]
Step = Callable[[], object]


class TrainingError(Exception):
    """The run can't start or go on; the message says why and what to do."""


def equal_error_rate(live: NDArray[np.bool_], liveness: NDArray[np.float32]) -> float:
    """Share of errors where as many attacks pass as bona fide are refused, for choosing an epoch; 0 to 1.

    Args:
        live: bool (M,).
        liveness: float (M,).
    """
    order = np.argsort(-liveness, kind="stable")
    passed = live[order]
    accepted = np.concatenate([[0.0], np.cumsum(~passed) / max(1, (~passed).sum())])
    refused = np.concatenate([[1.0], 1.0 - np.cumsum(passed) / max(1, passed.sum())])
    # Between the two thresholds around the crossing the rates lie on a line.
    k = int(np.argmax(accepted >= refused))
    if k == 0:
        return float(accepted[0])
    before, after = accepted[k - 1] - refused[k - 1], accepted[k] - refused[k]
    share = before / (before - after)
    return float(accepted[k - 1] + share * (accepted[k] - accepted[k - 1]))


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
        settings: what to train.
        train_set: the clips to learn from.
        dev_set: the clips that choose the epoch; never learnt from.
        out: takes last.pt, best.pt, history.csv and TensorBoard's files.
        label: what the weights are to be called.
        start_from: checkpoint whose weights the run begins with, in place of drawn ones; its optimizer is left behind.

    Raises:
        TrainingError: the clips, `out` or `start_from` do not fit.
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
            if len({clips.video(i).live for i in range(len(clips))}) < 2:
                raise TrainingError(f"the {name} set of {len(clips)} clips needs both bona fide and attacks")
        self.settings, self.train_set, self.dev_set, self.out = settings, train_set, dev_set, out
        self.device = compute_device()
        self.autocast = autocast_dtype(settings.optimizer.autocast, self.device)
        network = create(settings.seed, settings.network) if start_from is None else _start(settings, start_from)
        made_of = dataclasses.asdict(settings)
        if start_from is not None:
            made_of["start_from"] = hashlib.sha256(start_from.read_bytes()).hexdigest()
        self.checkpoint = self._resume(made_of) or Checkpoint(network, label=label, settings=made_of)
        # Channels beside each other: on a CPU a step on windows of 96 px takes four fifths of the time.
        self.network = self.checkpoint.network.to(self.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        decayed = [p for p in self.network.parameters() if p.ndim == 4]
        rest = [p for p in self.network.parameters() if p.ndim != 4]
        # Biases, norms and filter coefficients are not pulled towards zero.
        groups = [
            {"params": decayed, "weight_decay": settings.optimizer.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ]
        on_gpu = self.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(groups, lr=settings.optimizer.learning_rate, fused=on_gpu or None)
        self._train_feed, self._dev_feed = (Feed(clips, self.device) for clips in (train_set, dev_set))
        self._logits = Logits(self.network, self.autocast)
        self._train_logits = GraphedLogits(self._logits) if on_gpu else self._logits
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
                f"{self.out} holds a run with other settings or another start: choose another folder, or remove {path}"
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
        """Trains what is left of the run.

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
        best = all((dev_eer, dev_loss) < (past["dev_eer"], past["dev_loss"]) for past in checkpoint.history)
        checkpoint.history.append(row)
        checkpoint.optimizer = self.optimizer.state_dict()
        if best:
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
            # Cut before anything is computed: 16 whole clips as float32 are 50 MB.
            clips, targets = cut_windows(clips, targets, augmentation, generator)
            clips, targets = clips.to(self.device), targets.to(self.device)
            clips, targets = augment(to_float(clips), targets, augmentation, generator)
            loss = clip_loss(self._train_logits(to_network(clips)), targets, self.settings.loss)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), optimizer.gradient_norm)
            self.optimizer.step()
            # Asked for last: a GPU is waited for here.
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
        eer = equal_error_rate(torch.cat(lives).numpy() > 0.5, torch.cat(scores).numpy())
        return losses / len(self.dev_set), eer


def _start(settings: Settings, path: Path) -> EulerNet:
    try:
        network = load(path).network
    except CheckpointError as error:
        raise TrainingError(str(error)) from error
    wanted, found = (dataclasses.asdict(each) for each in (settings.network, network.config))
    differing = [f"{name} = {found[name]}, wanted {wanted[name]}" for name in wanted if wanted[name] != found[name]]
    if differing:
        raise TrainingError(f"{path} is another network ({'; '.join(differing)}): give [network] its values")
    return network


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """A row an epoch, as CSV; whole or not at all."""
    beside = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with beside.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)
    beside.replace(path)


def best_network(out: Path) -> EulerNet:
    """The network of the best epoch of a run."""
    return load(out / BEST).network
