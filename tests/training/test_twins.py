# SPDX-License-Identifier: Apache-2.0
"""Twins in training: still or moved by what was asked, without edges, with their targets; and off by default."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from eulernet.datasets.records import Video
from eulernet.evaluation.stress_figures import FROZEN
from eulernet.learning.augmentation import cut_windows, epoch_generator
from eulernet.learning.checkpoint import load
from eulernet.learning.settings import AugmentationSettings, Settings, SettingsError, TwinSettings, read_settings
from eulernet.learning.trainer import Trainer
from eulernet.learning.twins import with_twins
from eulernet.learning.widened_clips import WidenedClips, widened
from eulernet.planar_motion import MEASURED_AT, moving, placed, sample, steps_px

SIDE = 256
CLEAN = TwinSettings(frozen=0.5, moved=0.5, noised=0.0)
WINDOWS = AugmentationSettings(window_px=96)
WHOLE = AugmentationSettings(window_px=0)


def ruler(count: int = 1, side: int = SIDE) -> Tensor:
    """Clips whose red and green are the column and the row of each pixel, so that a value tells where it comes from:
    uint8 (count, 4, side, side, 3)."""
    line = (torch.arange(side) * (255.0 / (side - 1))).round()
    picture = torch.stack([line.expand(side, side), line[:, None].expand(side, side), torch.zeros(side, side)], -1)
    return picture.to(torch.uint8).expand(count, 4, side, side, 3).clone()


def made(
    settings: TwinSettings, augmentation: AugmentationSettings, seed: int = 0, count: int = 8
) -> tuple[Tensor, Tensor]:
    """Windows and targets of rulers, all bona fide, whose targets are the column of each cell, 0 to 1."""
    clips = ruler(count)
    targets = clips[:, 0, 4::8, 4::8, 0].float() / 255.0
    return with_twins(clips, targets, torch.ones(count), settings, augmentation, epoch_generator(seed, 0, 1))


def test_without_twins_nothing_changes_and_nothing_is_drawn() -> None:
    clips, targets, live = ruler(3), torch.rand(3, 32, 32), torch.tensor([1.0, 0.0, 0.0])
    one, other = epoch_generator(1, 2, 3), epoch_generator(1, 2, 3)
    wanted = cut_windows(clips, targets, WINDOWS, one)
    found = with_twins(clips, targets, live, TwinSettings(), WINDOWS, other)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert torch.equal(one.get_state(), other.get_state())
    assert not Settings().twins.on


@pytest.mark.parametrize("augmentation", [WINDOWS, WHOLE])
def test_twins_are_added_after_the_batch_as_attacks(augmentation: AugmentationSettings) -> None:
    pictures, targets = made(TwinSettings(frozen=0.25, moved=0.5), augmentation)
    side = augmentation.window_px or SIDE
    assert pictures.shape == (8 + 2 + 4, 4, side, side, 3)
    assert pictures.dtype == torch.uint8
    assert targets.shape == (14, side // 8, side // 8)
    assert (targets[:8] > 0).any(dim=(1, 2)).all()
    assert not targets[8:].any()


def test_the_generator_determines_everything() -> None:
    runs = [made(TwinSettings(frozen=0.5, moved=0.5), WINDOWS, seed) for seed in (0, 0, 1)]
    for a, b, c in zip(*runs, strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_twins_are_made_of_bona_fide_clips_unless_there_are_none() -> None:
    clips = torch.zeros(6, 4, SIDE, SIDE, 3, dtype=torch.uint8)
    clips[2:4] = 200  # the bona fide ones
    live = torch.tensor([0.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    for lives, colour in ((live, 200), (torch.zeros(6), 0)):
        pictures, _ = with_twins(clips, torch.zeros(6, 32, 32), lives, CLEAN, WINDOWS, epoch_generator(0, 0, 1))
        assert len(pictures) == 12
        assert set(pictures[6:, :, 0, 0, 0].flatten().tolist()) <= ({colour} if colour else {0, 200})


def test_frozen_twins_stand_still_and_moved_ones_do_not() -> None:
    clips = torch.randint(0, 256, (8, 4, SIDE, SIDE, 3), dtype=torch.uint8, generator=epoch_generator(0, 0, 0))
    args = torch.zeros(8, 32, 32), torch.ones(8), CLEAN, WINDOWS, epoch_generator(0, 0, 1)
    pictures, _ = with_twins(clips, *args)
    still = (pictures[:, :1] == pictures).flatten(1).all(dim=1)
    assert still.tolist() == [False] * 8 + [True] * 4 + [False] * 4


@pytest.mark.parametrize("augmentation", [WINDOWS, WHOLE])
def test_no_picture_shows_an_edge(augmentation: AugmentationSettings) -> None:
    """The ruler rises in every frame: black or mirrored borders would fall."""
    fast = dataclasses.replace(CLEAN, slowest_px=5.9, resampled=1.0)
    for seed in range(3):
        pictures, _ = made(fast, augmentation, seed)
        red, green = pictures[..., 0].int(), pictures[..., 1].int()
        # Rounding and bicubic ringing move a value by one or two; a mirrored border turns the slope over many pixels.
        assert (red[..., 6:] - red[..., :-6]).min() > 0
        assert (green[..., 6:, :] - green[..., :-6, :]).min() > 0


@pytest.mark.parametrize("augmentation", [WINDOWS, WHOLE])
def test_targets_are_seen_from_the_clip_s_view(augmentation: AugmentationSettings) -> None:
    pictures, targets = made(dataclasses.replace(CLEAN, resampled=1.0, slowest_px=5.0), augmentation)
    cells = pictures[:8, 0, 4::8, 4::8, 0].float() / 255.0
    assert (cells - targets[:8])[:, 1:-1, 1:-1].abs().max() < 0.02
    unmoved, _ = made(dataclasses.replace(CLEAN, resampled=0.0), augmentation)
    assert not torch.equal(unmoved[:8], pictures[:8])


def test_the_same_part_of_the_crop_is_shown_of_a_twin_and_of_a_clip_that_is_not_moved() -> None:
    """Whole crops are enlarged for the motion of a twin; resampled clips must be too."""
    fast = dataclasses.replace(CLEAN, frozen=1.0, moved=1.0, slowest_px=5.9, resampled=1.0)
    parts = torch.cat([made(fast, WHOLE, seed, 6)[0][:, 0] for seed in range(3)]).float()
    shown = (parts[:, :, -1, 0] - parts[:, :, 0, 0]).mean(dim=1).view(3, 3, 6)  # runs, kinds, clips
    living, frozen, moved = shown.mean(dim=(0, 2)).tolist()
    assert 180 < moved < 240
    assert living == pytest.approx(moved, abs=8)
    assert frozen == pytest.approx(moved, abs=8)


def test_noise_is_new_in_each_frame_and_for_all_kinds_alike() -> None:
    flat = torch.full((24, 4, SIDE, SIDE, 3), 128, dtype=torch.uint8)
    settings = TwinSettings(frozen=1.0, moved=1.0, noised=0.5, noise=0.04)
    args = torch.zeros(24, 32, 32), torch.ones(24), settings, WINDOWS, epoch_generator(3, 0, 1)
    pictures, _ = with_twins(flat, *args)
    deviation = pictures.float().flatten(1).std(dim=1).view(3, 24) / 255.0
    noisy = deviation > 0
    assert ((noisy.float().mean(dim=1) > 0.2) & (noisy.float().mean(dim=1) < 0.8)).all()
    assert 0.03 < deviation.max() < 0.041
    k = int(noisy[1].nonzero()[0]) + 24
    difference = pictures[k, 0].float() - pictures[k, 1].float()
    assert difference.std() == pytest.approx(np.sqrt(2) * 255 * float(deviation.flatten()[k]), rel=0.1)


def blobs() -> Tensor:
    """A black picture with a soft white dot at each of MEASURED_AT: float (256, 256)."""
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    dots = [((1 + x) * SIDE / 2, (1 + y) * SIDE / 2) for x, y in MEASURED_AT]
    return torch.tensor(sum(np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18) for x, y in dots)).float()


def dots_px(picture: NDArray[np.float32]) -> NDArray[np.float64]:
    """Centres of the five dots, (5, 2) px, in the order of MEASURED_AT, which they leave by less than half a gap."""
    labels, count = ndimage.label(picture > 0.3 * picture.max())
    assert count == len(MEASURED_AT)
    centres = np.array(ndimage.center_of_mass(picture, labels, range(1, count + 1)))[:, ::-1] + 0.5
    rest = (1 + np.array(MEASURED_AT)) * SIDE / 2
    nearest = np.linalg.norm(centres[:, None] - rest, axis=-1).argmin(axis=0)
    assert sorted(nearest) == list(range(count))
    return np.asarray(centres[nearest], np.float64)


def test_a_motion_has_the_speed_that_was_asked_for() -> None:
    speeds = torch.tensor([0.7, 2.0, 3.8, 3.8, 6.0, 6.0])
    matrices = moving(speeds, 4, epoch_generator(0, 0, 1))
    assert torch.allclose(matrices[:, 0], torch.eye(3))
    assert torch.allclose(steps_px(matrices).mean(dim=(1, 2)), speeds, rtol=0.01)
    seen = sample(blobs().expand(6, 1, 1, SIDE, SIDE), torch.linalg.inv(matrices), SIDE, "bilinear")
    for clip, speed in zip(seen[:, :, 0].numpy(), speeds.tolist(), strict=True):
        places = np.array([dots_px(frame) for frame in clip])
        steps = np.linalg.norm(np.diff(places, axis=0), axis=-1)
        assert steps.mean() == pytest.approx(speed, rel=0.04, abs=0.05)


def test_motions_differ_in_kind_and_direction() -> None:
    matrices = moving(torch.full((200,), 3.8), 4, epoch_generator(1, 0, 1))
    first = matrices[:, 1] - torch.eye(3)
    angles = torch.atan2(first[:, 1, 2], first[:, 0, 2])
    assert np.histogram(angles, bins=4, range=(-np.pi, np.pi))[0].min() > 25
    steps = steps_px(matrices)
    assert (steps.std(dim=2).mean(dim=1) > 0.5).float().mean() > 0.5  # many do more than shift
    steadiness = (matrices[:, 3] - matrices[:, 0])[:, :2, 2].norm(dim=1) / (3 * first[:, :2, 2].norm(dim=1))
    assert 0.1 < (steadiness < 0.7).float().mean() < 0.9  # some go on, some turn back


def test_a_held_view_changes_little() -> None:
    corners = torch.tensor([[-1.0, -1.0, 1.0], [1.0, -1.0, 1.0], [-1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    seen = corners @ placed(500, 3.0, epoch_generator(0, 0, 1)).transpose(-1, -2)
    moved = 128 * (seen[..., :2] / seen[..., 2:] - corners[:, :2]).norm(dim=-1)
    assert 0.5 < moved.mean() < 3.0
    assert moved.max() < 9.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frozen = 1.5", "frozen = 1.5"),
        ("noised = -0.1", "noised = -0.1"),
        ("slowest_px = 7.0", "slowest_px = 7.0, fastest_px = 6.0"),
        ("slowest_px = 0.0", "slowest_px = 0.0"),
        ("frosen = 0.5", "twins.frosen: unknown"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.toml").write_text(f"[twins]\n{text}\n")
    with pytest.raises(SettingsError, match=f"run.toml: .*{message}"):
        read_settings(tmp_path / "run.toml")


class Moving:
    """Clips that are bona fide if their frames differ."""

    def __init__(self, make_clip: Callable[..., Tensor], count: int, size: int) -> None:
        self.clips = make_clip(count, 4, size)
        self.clips[::2] = self.clips[::2, :1]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor, int]:
        side = self.clips.shape[2] // 8
        return self.clips[index], torch.full((side, side), float(index % 2)), torch.tensor(float(index % 2)), index

    def video(self, index: int) -> Video:
        live = index % 2 == 1
        instrument = "bona_fide" if live else "print1"
        return Video(Path(str(index)), "live" if live else "attack", instrument, str(index), None, None, "train", "v")


def test_a_development_set_is_widened_by_stills_and_resampled_clips(make_clip: Callable[..., Tensor]) -> None:
    clips = Moving(make_clip, 6, 64)
    wide = WidenedClips(clips)
    assert len(wide) == 6 + 2 * 3
    for index in range(6):
        assert torch.equal(wide[index][0], clips[index][0])
    for index, source in ((6, 1), (8, 5)):
        clip, target, live, number = wide[index]
        assert number == index
        assert torch.equal(clip, clips[source][0][:1].expand_as(clip))
        assert not target.any()
        assert not live
        assert (wide.video(index).live, wide.video(index).instrument) == (False, FROZEN)
    assert len({wide.video(index).path for index in range(len(wide))}) == len(wide)  # no copy counts to its video
    for index, source in ((9, 1), (11, 5)):
        clip, target, live, number = wide[index]
        assert live
        assert wide.video(index).live
        assert torch.equal(target, clips[source][1])
        difference = (clip.float() - clips[source][0].float()).abs()
        assert 0.5 < difference.mean() < 12
        assert torch.equal(clip, wide[index][0])
    assert widened(clips, TwinSettings()) is clips
    assert len(widened(clips, CLEAN)) == 12


def test_a_run_with_twins_has_the_same_weights_again(make_clip: Callable[..., Tensor], tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        "[network]\nimage_size = 64\nwidths = [8, 8, 8, 8]\npyramid_width = 8\n"
        '[optimizer]\nepochs = 1\nbatch_size = 4\nautocast = "off"\n'
        "[augmentation]\nwindow_px = 32\n[twins]\nfrozen = 0.25\nmoved = 0.5\n"
    )
    data, states = Moving(make_clip, 10, 64), []
    for name in ("a", "b"):
        Trainer(read_settings(path), data, data, tmp_path / name, "twins").run()
        states.append(load(tmp_path / name / "last.pt").network.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
def test_every_device_makes_the_same_twins() -> None:
    """Up to rounding, and up to the noise, which each device draws itself."""
    clips, targets, live = ruler(6), torch.rand(6, 32, 32), torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    for augmentation in (WINDOWS, WHOLE):
        here = with_twins(clips, targets, live, CLEAN, augmentation, epoch_generator(0, 0, 1))
        there = with_twins(clips.cuda(), targets.cuda(), live.cuda(), CLEAN, augmentation, epoch_generator(0, 0, 1))
        assert (there[0].cpu().int() - here[0].int()).abs().max() <= 1
        torch.testing.assert_close(there[1].cpu(), here[1], rtol=1e-4, atol=1e-4)
    noisy, _ = with_twins(
        clips.cuda(), targets.cuda(), live.cuda(), TwinSettings(moved=0.5), WINDOWS, epoch_generator(0, 0, 1)
    )
    assert noisy.is_cuda
