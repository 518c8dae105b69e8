# SPDX-License-Identifier: Apache-2.0
"""Training: learning from motion alone, equal weights after a kill, choice of the epoch, and errors."""

import dataclasses
import itertools
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from eulernet.datasets.records import Video
from eulernet.learning.augmentation import augment, cosine_rate, cut_windows, epoch_generator, to_float
from eulernet.learning.checkpoint import AnyCheckpoint, CheckpointError, load, save
from eulernet.learning.epoch_choice import best_epoch, clip_eer
from eulernet.learning.feed import Feed, gather
from eulernet.learning.graphs import GraphedLogits, Logits
from eulernet.learning.losses import clip_loss, contrast_kernels, contrastive_depth_loss
from eulernet.learning.settings import (
    AugmentationSettings,
    EncodingSettings,
    LossSettings,
    Settings,
    SettingsError,
    read_settings,
)
from eulernet.learning.trainer import Trainer, TrainingError
from eulernet.network import NetworkConfig, create

SIZE = 32
SMALL = f"""
seed = 3
[network]
image_size = {SIZE}
widths = [8, 8, 8, 8]
pyramid_width = 8
[optimizer]
epochs = 6
batch_size = 8
learning_rate = 0.01
autocast = "off"
[augmentation]
shift = 0.0
zoom = 0.0
"""


class Flicker:
    """Clips with classes that differ only over time: bona fide ones flicker, attacks repeat one of their frames."""

    def __init__(self, count: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.clips = []
        for i in range(count):
            base = np.repeat(np.repeat(random.uniform(60, 190, (4, 4, 3)), SIZE // 4, 0), SIZE // 4, 1)
            beat = 40 * np.array([1, -1, 1, -1] if i % 4 < 2 else [-1, 1, -1, 1])
            clip = base[None] + (beat[:, None, None, None] if i % 2 else beat[random.integers(4)])
            self.clips.append(
                torch.from_numpy(np.clip(np.broadcast_to(clip, (4, SIZE, SIZE, 3)), 0, 255).astype(np.uint8))
            )

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int):
        side = SIZE // 8
        return self.clips[index], torch.full((side, side), float(index % 2)), torch.tensor(float(index % 2)), index

    def video(self, index: int) -> Video:
        live = index % 2 == 1
        instrument = "bona_fide" if live else "print1"
        return Video(Path(str(index)), "live" if live else "attack", instrument, str(index), None, None, "train", "v")


class Counted(Flicker):
    """Remembers the numbers of the clips that were asked for."""

    def __init__(self, count: int, seed: int) -> None:
        super().__init__(count, seed)
        self.seen: list[int] = []

    def __getitem__(self, index: int):
        self.seen.append(index)
        return super().__getitem__(index)


@pytest.fixture
def settings(tmp_path) -> Settings:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return read_settings(path)


def test_learns_what_only_time_shows(settings, tmp_path):
    trainer = Trainer(settings, Flicker(96, 0), Flicker(48, 1), tmp_path / "run", "flicker")
    history = trainer.run().history
    assert history[-1]["train_loss"] < 0.5 * history[0]["train_loss"]
    assert min(row["dev_eer"] for row in history) <= 0.05
    best = load(tmp_path / "run" / "best.pt")
    assert best.label == "flicker"
    still = torch.stack([Flicker(48, 1)[i][0] for i in range(1, 48, 2)])
    moving = best.network(still).liveness[:, -1]
    frozen = best.network(still[:, :1].expand(-1, 4, -1, -1, -1).contiguous()).liveness[:, -1]
    assert (moving > frozen).float().mean() > 0.9


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load(path).network.state_dict()


def test_same_seed_gives_the_same_weights_and_another_seed_others(settings, tmp_path):
    data = Flicker(16, 0)
    encoded = dataclasses.replace(settings, encoding=EncodingSettings(share=0.5))
    runs = {"a": settings, "b": settings, "c": dataclasses.replace(settings, seed=4), "d": encoded, "e": encoded}
    short = {
        name: dataclasses.replace(each, optimizer=dataclasses.replace(each.optimizer, epochs=2))
        for name, each in runs.items()
    }
    for name, each in short.items():
        Trainer(each, data, data, tmp_path / name, "flicker").run()
    a, b, c, d, e = (weights(tmp_path / name / "last.pt") for name in "abcde")
    assert all(torch.equal(a[name], b[name]) and torch.equal(d[name], e[name]) for name in a)
    assert not any(all(torch.equal(a[name], other[name]) for name in a) for other in (c, d))


@pytest.mark.slow
def test_goes_on_after_a_kill_as_if_nothing_had_been(settings, tmp_path):
    """A run that resumes after a SIGKILL between two epochs ends with the weights of an uninterrupted run."""
    script = f"""
import runpy
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
Flicker = runpy.run_path({str(Path(__file__))!r})["Flicker"]
from eulernet.learning.settings import read_settings
from eulernet.learning.trainer import Trainer
folder = Path(sys.argv[1])
trainer = Trainer(read_settings(Path(sys.argv[2])), Flicker(64, 0), Flicker(16, 1), folder, "flicker")
trainer.run(lambda line: print(line, flush=True))
"""

    def start(folder: Path) -> subprocess.Popen[str]:
        arguments = [sys.executable, "-c", script, str(folder), str(tmp_path / "small.toml")]
        return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)

    whole = start(tmp_path / "whole")
    lines = whole.communicate(timeout=120)[0].splitlines()
    assert len(lines) == 6
    killed = start(tmp_path / "killed")
    assert killed.stdout is not None
    assert killed.stdout.readline().startswith("epoch 1/6")
    killed.stdout.readline()
    time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    rest = killed.communicate()[0].splitlines()
    done = load(tmp_path / "killed" / "last.pt").epoch
    assert 2 <= done < 6, rest
    again = start(tmp_path / "killed")
    assert len(again.communicate(timeout=120)[0].splitlines()) == 6 - done
    a, b = (weights(tmp_path / name / "last.pt") for name in ("whole", "killed"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    rows = [(tmp_path / name / "history.csv").read_text().splitlines() for name in ("whole", "killed")]
    assert len(rows[0]) == len(rows[1]) == 7


def test_other_settings_in_the_same_folder_are_refused(settings, tmp_path):
    data = Flicker(8, 0)
    one_epoch = dataclasses.replace(settings, optimizer=dataclasses.replace(settings.optimizer, epochs=1))
    Trainer(one_epoch, data, data, tmp_path / "run", "flicker").run()
    with pytest.raises(TrainingError, match=re.escape(str(tmp_path / "run" / "last.pt"))):
        Trainer(settings, data, data, tmp_path / "run", "flicker")


@pytest.mark.parametrize("sizes", [(16, 8), (8, 16)], ids=["train", "dev"])
def test_other_videos_in_the_same_folder_are_refused(settings, tmp_path, sizes):
    """A folder with a finished run would otherwise be calibrated on videos that did not choose its epoch."""
    once = dataclasses.replace(settings, optimizer=dataclasses.replace(settings.optimizer, epochs=1))
    Trainer(once, Flicker(8, 0), Flicker(8, 1), tmp_path / "run", "flicker").run()
    assert Trainer(once, Flicker(8, 0), Flicker(8, 1), tmp_path / "run", "flicker").steps_left == 0
    with pytest.raises(TrainingError, match="other videos"):
        Trainer(once, *(Flicker(size, 0) for size in sizes), tmp_path / "run", "flicker")


class OneClass(Flicker):
    """Clips of one class: every second clip of Flicker, from `first`."""

    def __init__(self, count: int, first: int) -> None:
        super().__init__(2 * count, 0)
        self.count, self.first = count, first

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int):
        return super().__getitem__(2 * index + self.first)

    def video(self, index: int) -> Video:
        return super().video(2 * index + self.first)


@pytest.mark.parametrize(("first", "lacking"), [(0, "bona fide"), (1, "attacks")])
@pytest.mark.parametrize("name", ["train", "dev"])
def test_a_set_without_one_class_is_refused_before_training(settings, tmp_path, name, first, lacking):
    both, one = Flicker(8, 0), OneClass(3, first)
    sets = (one, both) if name == "train" else (both, one)
    with pytest.raises(TrainingError, match=f"the {name} set of 3 clips has no {lacking}"):
        Trainer(settings, *sets, tmp_path / "run", "flicker")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed = 1", "sed: .*augmentation, data, encoding, loss, network, optimizer, peer, seed, system, twins"),
        ("[optimizer]\nepoch = 3", "optimizer.epoch:"),
        ("[optimizer]\nepochs = 'many'", "optimizer.epochs = 'many'.* int"),
        ("[optimizer]\nepochs = 0", "epochs = 0"),
        ("[loss]\nregression = 'l7'", "regression = 'l7'.*mse, bce"),
        ("[network]\nimage_size = 100", "image_size 100.* 16"),
        ("[augmentation]\nwindow_px = 100", "window_px = 100"),
        ("[augmentation]\nwindow_px = 16", "window_px = 16"),
        ("[augmentation]\nwindow_px = 512", "window_px = 512.* 256"),
        ("[augmentation]\nwindows_per_clip = 0", "windows_per_clip = 0"),
        ("[data]\ndraws = {print = -1}", "draws.print = -1"),
        ("[data]\nstretch_frames = 30\nlongest_past = 5", "longest_past = 5.*longest_sequence = 8.*at most 4"),
        ("[data]\ndraws = {print = 'often'}", "draws.print = 'often'"),
        ("[data]\ndraws = 3", "data.draws = 3.* dict"),
        ("optimizer = 3", r"optimizer: .*\[optimizer\]"),
        ("seed = ", "TOML"),
    ],
)
def test_wrong_settings_are_named(tmp_path, text, message):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=rf"run\.toml: .*{message}"):
        read_settings(path)


def test_missing_settings_file(tmp_path):
    with pytest.raises(SettingsError, match=r"none\.toml"):
        read_settings(tmp_path / "none.toml")


def test_a_checkpoint_of_the_first_network_states_less_and_loads(tmp_path):
    config = NetworkConfig(
        widths=(8, 8, 8, 8),
        light_pyramid=False,
        frame_difference="none",
        differential=False,
        global_context=False,
        image_size=32,
        box_scale=1.6,
        pole_radius=1.0,
        score="linear",
        longest_sequence=0,
    )
    save(tmp_path / "now.pt", AnyCheckpoint(create(config=config), label="first"))
    content = torch.load(tmp_path / "now.pt", weights_only=True)
    stated = ("fcam", "pyramid", "widths", "compressed_channels", "pyramid_width", "image_size")
    content["network"] = {name: content["network"][name] for name in stated}
    torch.save(content, tmp_path / "then.pt")
    assert load(tmp_path / "then.pt").network.config == config


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04" + bytes(50)])
def test_garbage_is_no_checkpoint(tmp_path, content):
    path = tmp_path / "last.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.pt"):
        load(path)


@pytest.mark.parametrize(
    ("live", "liveness", "expected"),
    [
        ([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1], 0.0),
        ([0, 0, 1, 1], [0.9, 0.8, 0.2, 0.1], 1.0),
        ([1, 0, 1, 0], [0.9, 0.8, 0.2, 0.1], 0.5),
        ([1, 1, 1, 0, 0, 0], [0.9, 0.8, 0.3, 0.4, 0.2, 0.1], 1 / 3),
    ],
)
def test_clip_eer_by_hand(live, liveness, expected):
    assert clip_eer(np.array(liveness), np.array(live, bool)) == pytest.approx(expected)


def test_clip_eer_does_not_depend_on_the_order_of_equal_scores():
    """Two live clips and two attacks; one of each has the score 0.5, so that a sort gives an arbitrary order."""
    scores, live = np.array([0.9, 0.5, 0.5, 0.1], np.float32), np.array([True, True, False, False])
    for order in itertools.permutations(range(4)):
        chosen = list(order)
        assert clip_eer(scores[chosen], live[chosen]) == pytest.approx(0.25)


class Grey(Flicker):
    """Clips that all have the same score, because they are the same, with the classes in a given order."""

    def __init__(self, lives: list[bool]) -> None:
        super().__init__(1, 0)
        self.lives = lives

    def __len__(self) -> int:
        return len(self.lives)

    def __getitem__(self, index: int):
        live, side = float(self.lives[index]), SIZE // 8
        return self.clips[0], torch.full((side, side), live), torch.tensor(live), index

    def video(self, index: int) -> Video:
        return super().video(int(self.lives[index]))


@pytest.mark.parametrize("lives", [[True] * 3 + [False] * 3, [False] * 3 + [True] * 3, [True, False] * 3])
def test_an_epoch_s_eer_does_not_depend_on_the_order_of_equal_scores(settings, tmp_path, lives):
    one_epoch = dataclasses.replace(settings, optimizer=dataclasses.replace(settings.optimizer, epochs=1))
    (row,) = Trainer(one_epoch, Flicker(8, 0), Grey(lives), tmp_path / "run", "grey").run().history
    assert row["dev_eer"] == pytest.approx(0.5)


def test_the_best_epoch_is_the_earliest_with_the_lowest_eer_and_loss():
    rows = [(0.2, 0.1), (0.1, 0.5), (0.1, 0.4), (0.1, 0.4), (0.3, 0.0)]
    history = [{"epoch": n, "dev_eer": eer, "dev_loss": loss} for n, (eer, loss) in enumerate(rows, 1)]
    assert best_epoch(history)["epoch"] == 3
    assert [best_epoch(history[:n])["epoch"] for n in range(1, 6)] == [1, 2, 3, 3, 3]


def test_scores_that_are_not_finite_stop_the_run(settings, tmp_path, monkeypatch):
    trainer = Trainer(settings, Flicker(8, 0), Flicker(8, 1), tmp_path / "run", "flicker")
    monkeypatch.setattr(trainer.network, "liveness", lambda maps: maps.mean(dim=(2, 3)) * float("nan"))
    with pytest.raises(TrainingError, match="epoch 1.*nan"):
        trainer.run()


def test_contrast_kernels_see_no_constant():
    kernels = contrast_kernels()
    assert kernels.sum(dim=(1, 2, 3)).abs().max() == 0
    assert len({tuple(kernel.flatten().tolist()) for kernel in kernels}) == 8
    a = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0))
    assert contrastive_depth_loss(a, a + 0.3).max() < 1e-12
    assert contrastive_depth_loss(a, a.flip(-1)).min() > 1e-3


def test_frames_before_the_first_have_no_loss():
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(2, 4, 8, 8, generator=generator), torch.rand(2, 8, 8, generator=generator)
    later, settings = logits.clone(), LossSettings(first_frame=1)
    later[:, 0] += 5.0
    assert clip_loss(later, target, settings) == clip_loss(logits, target, settings)
    assert clip_loss(logits, target, settings) == clip_loss(logits[:, 1:], target, LossSettings())
    with pytest.raises(SettingsError, match="first_frame = 4"):
        LossSettings(first_frame=4)


@pytest.mark.parametrize("regression", ["mse", "bce"])
def test_loss_is_least_at_the_target(regression):
    target = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    at_target = torch.logit(target).unsqueeze(1).expand(-1, 3, -1, -1)
    settings = LossSettings(regression=regression)
    best = clip_loss(at_target, target, settings)
    for shift in (-0.5, 0.5):
        assert clip_loss(at_target + shift, target, settings) > best
    if regression == "mse":
        assert best < 1e-12


def test_a_live_clip_weighs_as_many_attacks():
    logits = torch.randn(5, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    targets = torch.zeros(5, 8, 8)
    targets[0] = 0.5
    live, attacks = (clip_loss(logits[i], targets[i], LossSettings()) for i in (slice(0, 1), slice(1, 5)))
    weighted = clip_loss(logits, targets, LossSettings(live_weight=4.0))
    assert weighted == pytest.approx(float(live + attacks) / 2, rel=1e-6)
    with pytest.raises(SettingsError, match="live_weight = 0"):
        LossSettings(live_weight=0.0)


OFF = AugmentationSettings(flip=False, gain=0, contrast=0, colour=0, shift=0, zoom=0)


def test_augmentation_moves_picture_and_target_together_and_all_frames_alike():
    picture = torch.zeros(1, 4, 3, 64, 64)
    picture[..., 20:30, 36:44] = 1.0
    target = torch.zeros(1, 64, 64)
    target[..., 20:30, 36:44] = 1.0
    changed = set()
    for seed in range(8):
        moved, label = augment(
            picture, target, AugmentationSettings(gain=0, contrast=0, colour=0), epoch_generator(seed, 0, 1)
        )
        assert torch.equal(moved[:, 0], moved[:, 3])
        assert (moved[0, 0, 0] - label[0]).abs().max() < 1e-4
        changed.add(tuple(label[0].nonzero().float().mean(dim=0).tolist()))
    assert len(changed) == 8


def test_quarter_turns_take_the_target_along_and_lose_no_pixel():
    clips = torch.rand(24, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    targets = clips[:, 0, 0, ::8, ::8].clone()
    turned, labels = augment(clips, targets, dataclasses.replace(OFF, quarter_turns=True), epoch_generator(0, 0, 1))
    seen = set()
    for clip, target, new, label in zip(clips, targets, turned, labels, strict=True):
        (turns,) = [k for k in range(4) if torch.allclose(clip.rot90(k, (-2, -1)), new, atol=1e-6)]
        assert torch.equal(target.rot90(turns, (-2, -1)), label)
        seen.add(turns)
    assert seen == {0, 1, 2, 3}


def test_no_augmentation_changes_nothing():
    clip = to_float(torch.randint(0, 256, (2, 4, 32, 32, 3), dtype=torch.uint8))
    target = torch.rand(2, 4, 4)
    same, label = augment(clip, target, OFF, epoch_generator(0, 0, 1))
    assert (same - clip).abs().max() < 1e-5
    assert (label - target).abs().max() < 1e-5


def test_saturation_changes_colours_and_leaves_brightness_as_it_was():
    clips = 0.4 + 0.2 * torch.rand(8, 4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    target = torch.rand(8, 4, 4)
    changed, label = augment(clips, target, dataclasses.replace(OFF, saturation=1.0), epoch_generator(0, 0, 1))
    luma = torch.tensor([0.2126, 0.7152, 0.0722]).view(3, 1, 1)
    brightness = [(each * luma).sum(dim=2, keepdim=True) for each in (clips, changed)]
    assert (brightness[0] - brightness[1]).abs().max() < 1e-6
    factors = (changed - brightness[1]).flatten(1).norm(dim=1) / (clips - brightness[0]).flatten(1).norm(dim=1)
    assert 0 <= factors.min() < 0.7
    assert 1.3 < factors.max() <= 2
    assert torch.equal(label, target)


def test_sharpness_changes_details_and_leaves_even_surfaces_as_they_were():
    checks = (torch.arange(16)[:, None] + torch.arange(16)) % 2
    clips = (0.5 + 0.1 * (2 * checks - 1)).expand(8, 4, 3, 16, 16).clone()
    clips[:, :, 1] = 0.3
    changed, _ = augment(clips, torch.zeros(8, 2, 2), dataclasses.replace(OFF, sharpness=0.5), epoch_generator(0, 0, 1))
    assert (changed[:, :, 1] - 0.3).abs().max() < 1e-6
    contrast = (changed[:, :, 0, 4, 4] - changed[:, :, 0, 4, 5]).abs() / 0.2
    assert torch.equal(contrast[:, 0], contrast[:, 3])
    # In a checkerboard, the difference from the 3x3 mean has eight ninths of the contrast.
    assert 1 - 0.5 * 8 / 9 - 1e-3 <= contrast.min() < 0.9
    assert 1.1 < contrast.max() <= 1 + 0.5 * 8 / 9 + 1e-3


def test_a_window_is_a_part_of_the_clip_as_it_was_and_its_part_of_the_target():
    # Each cell of 8x8 pixels holds its own number, in the picture and in the target.
    cells = torch.arange(64, dtype=torch.uint8).reshape(8, 8)
    clip = cells.repeat_interleave(8, 0).repeat_interleave(8, 1)[:, :, None].expand(3, 4, 64, 64, 3)
    settings = AugmentationSettings(window_px=32)
    corners = set()
    for seed in range(20):
        part, label = cut_windows(clip, cells.float().expand(3, 8, 8), settings, epoch_generator(seed, 0, 1))
        assert part.shape == (3, 4, 32, 32, 3)
        assert label.shape == (3, 4, 4)
        assert torch.equal(part[:, 2, ::8, ::8, 1].float(), label)
        assert torch.equal(part[:, 0], part[:, 3])
        corners |= set(label[:, 0, 0].int().tolist())
    assert corners == {row * 8 + column for row in (0, 2, 4) for column in (0, 2, 4)}
    part, label = cut_windows(clip, cells.float().expand(3, 4, 8, 8), settings, epoch_generator(0, 0, 1))
    assert torch.equal(part[:, :, ::8, ::8, 0].float(), label)
    same, label = cut_windows(clip, cells.float().expand(3, 8, 8), AugmentationSettings(), epoch_generator(0, 0, 1))
    assert same is clip
    assert label.shape == (3, 8, 8)


def test_flips_without_resampling_are_those_with(settings):
    clips = torch.rand(6, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    targets = torch.rand(6, 4, 4, generator=torch.Generator().manual_seed(2))
    plain = AugmentationSettings(shift=0.0, zoom=0.0)
    moved = dataclasses.replace(plain, zoom=1e-9)
    exact, resampled = (augment(clips, targets, each, epoch_generator(3, 0, 1)) for each in (plain, moved))
    for one, other in zip(exact, resampled, strict=True):
        assert (one - other).abs().max() < 1e-4
    assert not torch.equal(exact[1], targets)


def test_learns_from_windows_and_sees_every_clip_as_often_as_asked(settings, tmp_path):
    clips = Counted(22, 1)
    settings = dataclasses.replace(
        settings,
        augmentation=dataclasses.replace(settings.augmentation, window_px=SIZE, windows_per_clip=3),
        optimizer=dataclasses.replace(settings.optimizer, epochs=1),
    )
    steps = []
    trainer = Trainer(settings, clips, Flicker(8, 2), tmp_path, "windows")
    trainer.run(step=lambda: steps.append(1))
    assert sorted(clips.seen) == sorted(3 * list(range(22)))
    assert len(steps) == 9  # of 8, the last of 2
    assert not trainer.steps_left


def test_clips_are_drawn_as_often_as_the_recipe_says(settings, tmp_path):
    class TwoPrinters(Counted):
        def video(self, index: int) -> Video:
            kind = super().video(index)
            return kind if kind.live else dataclasses.replace(kind, instrument=f"print{1 + index % 4 // 2}")

    def drawn(draws, name):
        clips = TwoPrinters(400, 1)
        data = dataclasses.replace(settings.data, draws=draws)
        optimizer = dataclasses.replace(settings.optimizer, epochs=1)
        its = dataclasses.replace(settings, data=data, optimizer=optimizer)
        Trainer(its, clips, Flicker(8, 2), tmp_path / name, "draws").run()
        seen = np.array(clips.seen)
        return np.array([(seen % 2 == 1).mean(), (seen % 4 == 0).mean(), (seen % 4 == 2).mean()]), clips.seen

    shares, first = drawn({"bona_fide": 3, "print": 1, "print2": 0}, "a")
    assert shares[2] == 0
    assert shares[:2] == pytest.approx([6 / 7, 1 / 7], abs=0.05)
    assert drawn({"bona_fide": 3, "print": 1, "print2": 0}, "b")[1] == first, "by the seed"
    assert drawn({"replay": 0}, "c")[0] == pytest.approx([0.5, 0.25, 0.25], abs=0.1)
    with pytest.raises(TrainingError, match="data.draws"):
        drawn({"print": 0}, "d")


def test_learning_rate_rises_and_falls():
    rates = [cosine_rate(step, 100, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == 1.0
    assert all(a >= b for a, b in itertools.pairwise(rates[9:]))
    assert rates[-1] < 0.01


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")


@pytest.mark.gpu
@needs_gpu
def test_graphs_give_the_logits_and_gradients_of_the_plain_network(settings):
    """The graph captured at the first call is also right for other pictures, other weights and a smaller last batch,
    and updates the statistics of the normalisations as plain training does."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        plain, graphed = (create(1, settings.network, training=True).cuda() for _ in range(2))
        logits = GraphedLogits(Logits(graphed, None))
        random = torch.Generator().manual_seed(5)
        for count in (8, 8, 8, 3):
            pictures = torch.rand(count, 4, 3, SIZE, SIZE, generator=random).cuda() * 2 - 1
            wanted, found = plain.logits(pictures), logits(pictures)
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
            for network, each in ((plain, wanted), (graphed, found)):
                network.zero_grad()
                each.square().mean().backward()
                with torch.no_grad():
                    for parameter in network.parameters():
                        parameter -= 0.01 * parameter.grad
            for (name, a), (_, b) in zip(plain.state_dict().items(), graphed.state_dict().items(), strict=True):
                torch.testing.assert_close(b, a, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.gpu
@needs_gpu
def test_every_device_augments_alike():
    settings = AugmentationSettings(quarter_turns=True, saturation=0.5, sharpness=0.5, window_px=32)
    clips, targets = torch.rand(8, 4, 3, 32, 32), torch.rand(8, 4, 4)
    here = augment(clips, targets, settings, epoch_generator(0, 0, 1))
    there = augment(clips.cuda(), targets.cuda(), settings, epoch_generator(0, 0, 1))
    for a, b in zip(here, there, strict=True):
        torch.testing.assert_close(b.cpu(), a, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@needs_gpu
def test_clips_are_held_on_the_gpu():
    data = Flicker(8, 0)
    feed = Feed(data, torch.device("cuda"))
    for a, b in zip(feed.batch([5, 2]), gather(data, [5, 2]), strict=True):
        assert a.is_cuda
        assert torch.equal(a.cpu(), b)
