# SPDX-License-Identifier: Apache-2.0
"""Clips drawn from stretches: where they lie, what they have seen before, and that training uses just these frames."""

import dataclasses
from pathlib import Path

import pytest
import torch

from eulernet.datasets.records import Video
from eulernet.learning.settings import (
    AugmentationSettings,
    DataSettings,
    OptimizerSettings,
    PeerSettings,
    Settings,
    SettingsError,
)
from eulernet.learning.stretches import drawn_frames
from eulernet.learning.trainer import Trainer
from eulernet.network import NetworkConfig, create
from eulernet.planar_motion import back_and_forth, moving, steps_px
from eulernet_core.clip_geometry import CLIP_FRAMES, FRAME_INTERVAL

STRETCHED = DataSettings(stretch_frames=30, longest_past=16)
DRAWS = 300


def drawn(settings: DataSettings) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [drawn_frames(6, settings, generator) for _ in range(DRAWS)]


def test_a_clip_lies_anywhere_in_its_stretch_and_runs_forwards():
    firsts = set()
    for frames in drawn(STRETCHED):
        assert frames.min() >= 0
        assert frames.max() < 30
        clip = frames[:, -CLIP_FRAMES:]
        assert (clip.diff(dim=1) == FRAME_INTERVAL).all()
        firsts |= set(clip[:, 0].tolist())
    assert firsts == set(range(21))


def test_half_of_the_batches_begin_their_sequences_and_the_others_have_every_past():
    pasts = [frames.shape[1] - CLIP_FRAMES for frames in drawn(STRETCHED)]
    assert 0.4 < pasts.count(0) / DRAWS < 0.6
    assert set(pasts) == set(range(17))
    assert {frames.shape[1] for frames in drawn(DataSettings(stretch_frames=30))} == {CLIP_FRAMES}


def test_a_past_leads_to_its_clip():
    for frames in drawn(STRETCHED):
        assert (frames.diff(dim=1).abs() <= FRAME_INTERVAL).all()


def test_uneven_times_are_a_frame_off_in_as_many_clips_as_asked_and_keep_their_order():
    found = torch.cat(
        [frames[:, -CLIP_FRAMES:].diff(dim=1) for frames in drawn(dataclasses.replace(STRETCHED, uneven=0.5))]
    )
    assert found.min() >= 1
    assert found.max() <= 5
    off = (found != FRAME_INTERVAL).any(dim=1).float().mean()
    assert 0.4 < off < 0.55  # one draw in 27 has three even steps


def test_a_line_is_walked_to_and_fro():
    assert back_and_forth(torch.arange(-3, 9), 4).tolist() == [3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert back_and_forth(torch.arange(5), 1).tolist() == [0] * 5


def test_a_long_motion_keeps_its_speed_and_stays_near():
    speeds = torch.tensor([1.0, 3.0, 6.0])
    ways = moving(speeds, 21, torch.Generator().manual_seed(2))
    torch.testing.assert_close(steps_px(ways).mean((1, 2)), speeds, rtol=0.02, atol=0.0)
    torch.testing.assert_close(ways[:, 10], ways[:, 0])


class Numbered:
    """Stretches of 12 frames; a pixel is twice its frame's number, and 100 more in bona fide ones."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int):
        live = index % 2
        pixels = 2 * torch.arange(12) + 100 * live
        clip = pixels.to(torch.uint8).view(12, 1, 1, 1).expand(12, 32, 32, 3)
        return clip, torch.full((4, 4), float(live)), torch.tensor(float(live)), index

    def video(self, index: int) -> Video:
        label, instrument = ("live", "bona_fide") if index % 2 else ("attack", "print1")
        return Video(Path(str(index)), label, instrument, str(index), None, None, "train", "v")


class Cut(Numbered):
    """The clips that begin the stretches."""

    def __getitem__(self, index: int):
        clip, *rest = super().__getitem__(index)
        return clip[:12:3], *rest


def stretched(data: DataSettings, seed: int = 1) -> Settings:
    return Settings(
        seed=seed,
        data=data,
        network=NetworkConfig(widths=(8, 8, 8, 8), pyramid_width=8, image_size=32),
        optimizer=OptimizerSettings(epochs=4, batch_size=4, learning_rate=1e-3),
        augmentation=AugmentationSettings(shift=0.0, zoom=0.0),
    )


def test_training_draws_frames_of_the_stretches_by_the_seed(tmp_path, monkeypatch):
    data = DataSettings(stretch_frames=12, longest_past=4, uneven=0.5)
    seen = []

    def run(name: str, seed: int) -> dict[str, torch.Tensor]:
        trainer = Trainer(stretched(data, seed), Numbered(), Cut(), tmp_path / name, "s")
        select = trainer.system.select

        def noted(batch, *rest):
            seen.append(batch.clips[..., 0, 0, 0].long())
            return select(batch, *rest)

        monkeypatch.setattr(trainer.system, "select", noted)
        return trainer.run().network.state_dict()

    first = run("first", 1)
    assert {batch.shape[1] for batch in seen} > {CLIP_FRAMES}
    assert {int(pixel) % 100 // 2 for batch in seen for pixel in batch.flatten()} == set(range(12))
    again, other = run("again", 1), run("other", 2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_past_enters_the_state_without_a_map_or_a_gradient():
    network = create(2, NetworkConfig(widths=(8, 8, 8, 8), pyramid_width=8, image_size=32))
    pictures = 2.0 * torch.rand(2, 9, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 1.0
    pictures.requires_grad_()
    found = network.logits(pictures, before=5)
    torch.testing.assert_close(found, network.logits(pictures)[:, 5:])
    assert (found - network.logits(pictures[:, 5:])).abs().max() > 1e-5
    found.sum().backward()
    assert pictures.grad is not None
    assert (pictures.grad[:, :4] == 0).all()  # the frame before the clip is in the first difference
    assert (pictures.grad[:, 5:] != 0).any()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"stretch_frames": 9}, "stretch_frames = 9"),
        ({"longest_past": 3}, "stretch_frames"),
        ({"uneven": 0.1}, "stretch_frames"),
        ({"stretch_frames": 20, "uneven": 1.5}, "uneven = 1.5"),
        ({"stretch_frames": 20, "longest_past": -1}, "longest_past = -1"),
    ],
)
def test_settings_that_make_no_sense_are_named(values, named):
    with pytest.raises(SettingsError, match=named):
        DataSettings(**values)


def test_a_system_without_a_state_has_no_past():
    with pytest.raises(SettingsError, match="longest_past: the system cdcn"):
        Settings(system="cdcn", data=STRETCHED, peer=PeerSettings())
