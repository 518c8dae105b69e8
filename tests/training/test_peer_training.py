# SPDX-License-Identifier: Apache-2.0
"""One trainer for all systems: each learns, resumes as if nothing had been, and EulerNet's training is a plain loop."""

import dataclasses
from pathlib import Path

import pytest
import torch

from eulernet.learning.augmentation import augment, cosine_rate, cut_windows, epoch_generator, to_float, to_network
from eulernet.learning.calibration import publish
from eulernet.learning.checkpoint import CheckpointError, load, load_any, system_name
from eulernet.learning.feed import gather
from eulernet.learning.losses import clip_loss
from eulernet.learning.settings import (
    AugmentationSettings,
    DataSettings,
    LossSettings,
    OptimizerSettings,
    PeerSettings,
    Settings,
    SettingsError,
    TwinSettings,
    find_recipe,
    read_settings,
)
from eulernet.learning.trainer import Trainer, TrainingError
from eulernet.network import NetworkConfig, create
from eulernet.peers.fas_sgtd import SINGLE_SHARE
from eulernet.peers.systems import NETWORKS
from eulernet_core import shipped
from tests.training.rastered_clips import FRAMES, RasteredClips

RATES = {"deep_pix_bis": 5e-3, "cdcn": 5e-3, "fas_sgtd": 2e-3, "disentangled": 2e-3, "minifasnet": 0.05}
SMALL = PeerSettings(input_px=32, width_factor=0.0625)
SYSTEMS = [pytest.param(name, marks=pytest.mark.slow if name == "minifasnet" else ()) for name in NETWORKS]
LONGEST = ("disentangled", "minifasnet")
LEARNING = [pytest.param(name, marks=pytest.mark.slow if name in LONGEST else ()) for name in NETWORKS]


def settings(name: str, epochs: int, uses: int = 4) -> Settings:
    return Settings(
        seed=1,
        system=name,
        peer=PeerSettings() if name == "minifasnet" else SMALL,
        data=DataSettings(label="depth"),
        optimizer=OptimizerSettings(epochs, batch_size=8, learning_rate=RATES[name], weight_decay=1e-5, autocast="off"),
        augmentation=AugmentationSettings(windows_per_clip=uses),
    )


def state(path: Path) -> dict[str, torch.Tensor]:
    return load_any(path).network.state_dict()


@pytest.mark.parametrize("name", LEARNING)
def test_a_system_learns_a_raster(name: str, tmp_path: Path) -> None:
    trainer = Trainer(settings(name, 6), RasteredClips(16, 0), RasteredClips(12, 1), tmp_path / "run", "raster")
    history = trainer.run().history
    complete = history[trainer.system.first_complete_epoch() :]
    assert min(row["dev_loss"] for row in complete[1:]) < complete[0]["dev_loss"]
    best = trainer.best()
    assert best is not None
    assert best["dev_eer"] <= 0.17
    published = load_any(publish(tmp_path / "run", trainer.dev_set))
    assert (system_name(published.network), published.label, published.optimizer) == (name, "raster", {})
    assert published.epoch == best["epoch"]
    test = RasteredClips(12, 2)
    with torch.inference_mode():
        liveness = published.network(torch.stack([test[i][0] for i in range(12)]))
    assert liveness[1::2].mean() > liveness[::2].mean() + 0.2
    frames = 16 * 4 * (FRAMES if name == "fas_sgtd" else 1)
    assert history[-1]["frames"] == frames


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_run_in_two_parts_has_the_weights_of_one_in_one(name: str, tmp_path: Path) -> None:
    """A killed run resumes from last.pt: the trainer that wrote it is thrown away after an epoch."""
    train, dev = RasteredClips(12, 0), RasteredClips(4, 1)
    wanted = settings(name, 2, uses=1)
    Trainer(wanted, train, dev, tmp_path / "whole", "raster").run()

    class StoppedError(Exception):
        pass

    def stop(line: str) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        Trainer(wanted, train, dev, tmp_path / "parts", "raster").run(stop)
    assert load_any(tmp_path / "parts" / "last.pt").epoch == 1
    with torch.random.fork_rng():
        torch.manual_seed(99)  # another process has another state
        resumed = Trainer(wanted, train, dev, tmp_path / "parts", "raster")
        assert resumed.steps_left == 2
        resumed.run()
    whole, parts = (state(tmp_path / each / "last.pt") for each in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_eulernet_learns_as_in_a_plain_loop(tmp_path: Path) -> None:
    """The loop that `eulernet train` is for EulerNet, written out: the same weights, bit by bit."""
    network = NetworkConfig(image_size=64, widths=(8, 8, 8, 8), pyramid_width=8)
    wanted = Settings(
        seed=3,
        network=network,
        optimizer=OptimizerSettings(epochs=2, batch_size=6, learning_rate=0.01, autocast="off"),
        loss=LossSettings(regression="bce", live_weight=4.0),
        augmentation=AugmentationSettings(quarter_turns=True, shift=0, zoom=0, window_px=32, windows_per_clip=3),
    )
    train = RasteredClips(8, 0)
    Trainer(wanted, train, RasteredClips(4, 1), tmp_path / "run", "raster").run()
    plain = create(3, network, training=True).to(memory_format=torch.channels_last)
    convolutions = [p for p in plain.parameters() if p.ndim == 4]
    rest = [p for p in plain.parameters() if p.ndim != 4]
    groups = [{"params": convolutions, "weight_decay": 1e-2}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.01)
    for epoch in range(2):
        order = torch.randperm(24, generator=epoch_generator(3, epoch, 0)) % 8
        for number, indices in enumerate(order.split(6)):
            for group in optimizer.param_groups:
                group["lr"] = 0.01 * cosine_rate(4 * epoch + number, 8, 4)
            generator = epoch_generator(3, epoch, number + 1)
            clips, targets, _ = gather(train, indices.tolist())
            clips, targets = cut_windows(clips, targets, wanted.augmentation, generator)
            pictures, targets = augment(to_float(clips), targets, wanted.augmentation, generator)
            optimizer.zero_grad()
            clip_loss(plain.logits(to_network(pictures)), targets, wanted.loss).backward()
            torch.nn.utils.clip_grad_norm_(plain.parameters(), 5.0)
            optimizer.step()
    found = state(tmp_path / "run" / "last.pt")
    assert all(torch.equal(found[name], value) for name, value in plain.state_dict().items())


def test_both_sides_of_disentangled_learn(tmp_path: Path) -> None:
    wanted = settings("disentangled", 1, uses=1)
    trainer = Trainer(wanted, RasteredClips(8, 0), RasteredClips(4, 1), tmp_path / "run", "raster")
    before = {name: value.clone() for name, value in trainer.network.named_parameters()}
    trainer.run()
    moved = {name.split(".")[0] for name, value in trainer.network.named_parameters() if not before[name].equal(value)}
    assert moved == {"encoder", "decoder", "texture", "depth", "discriminators"}


def test_fas_sgtd_learns_single_frames_then_time(tmp_path: Path) -> None:
    wanted = settings("fas_sgtd", 2, uses=1)
    trainer = Trainer(wanted, RasteredClips(8, 0), RasteredClips(4, 1), tmp_path / "run", "raster")
    states = [{name: value.clone() for name, value in trainer.network.state_dict().items()}]
    trainer.run(lambda line: states.append({n: v.clone() for n, v in trainer.network.state_dict().items()}))
    assert SINGLE_SHARE == 0.5
    for epoch, still in ((0, "temporal_part."), (1, "single.")):
        before, after = states[epoch : epoch + 2]
        moved = {name for name in before if not before[name].equal(after[name])}
        assert moved
        assert not {name for name in moved if name.startswith(still)}
    assert [row["frames"] for row in trainer.checkpoint.history] == [8, 8 * FRAMES]
    assert trainer.best() is trainer.checkpoint.history[1]


def test_twins_are_for_systems_that_see_time(tmp_path: Path) -> None:
    twins = TwinSettings(frozen=0.5)
    sets = RasteredClips(8, 0), RasteredClips(4, 1)
    with pytest.raises(SettingsError, match="CDCN sees single frames"):
        Trainer(dataclasses.replace(settings("cdcn", 1), twins=twins), *sets, tmp_path / "cdcn", "raster")
    wanted = dataclasses.replace(settings("fas_sgtd", 2, uses=1), twins=twins)
    history = Trainer(wanted, *sets, tmp_path / "run", "raster").run().history
    assert [row["frames"] for row in history] == [8, 12 * FRAMES]


def test_a_checkpoint_names_its_system(tmp_path: Path) -> None:
    sets = RasteredClips(8, 0), RasteredClips(4, 1)
    Trainer(settings("cdcn", 1, uses=1), *sets, tmp_path / "run", "raster").run()
    path = tmp_path / "run" / "last.pt"
    with pytest.raises(CheckpointError, match=r"last.pt: a checkpoint of CDCN"):
        load(path)
    with pytest.raises(TrainingError, match="has the system cdcn, not eulernet"):
        Trainer(Settings(), *sets, tmp_path / "other", "raster", path)
    wider = dataclasses.replace(settings("cdcn", 1), peer=dataclasses.replace(SMALL, width_factor=0.125))
    with pytest.raises(TrainingError, match=r"width_factor = 0.0625, wanted 0.125.*\[peer\]"):
        Trainer(wider, *sets, tmp_path / "other", "raster", path)
    again = settings("cdcn", 1, uses=2)
    assert Trainer(again, *sets, tmp_path / "again", "raster", path).run().epoch == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('system = "resnet"', "system = 'resnet': choose one of eulernet, .*minifasnet"),
        ('system = "cdcn"\n[network]\nfcam = false', r"\[network\] has no effect on the system cdcn"),
        ('system = "cdcn"\n[augmentation]\ngain = 0.9', r"\[augmentation\] has no effect"),
        ("[peer]\ninput_px = 128", r"\[peer\] has no effect on the system eulernet"),
        ('system = "cdcn"\n[peer]\nwidth_factor = 0.0', "width_factor = 0.0"),
        ('system = "cdcn"\n[peer]\ninput_px = -8', "input_px = -8"),
    ],
)
def test_wrong_recipes_of_systems_are_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=rf"run\.toml: .*{message}"):
        read_settings(path)


def test_every_system_has_a_recipe_at_its_published_size() -> None:
    for name, network in NETWORKS.items():
        found = read_settings(find_recipe(f"peers/{name}"))
        assert (found.system, found.peer.input_px, found.peer.width_factor) == (name, 0, 1.0)
        assert find_recipe(f"peers/{name}.toml").parent == shipped.recipes() / "peers"
        if network.resizable:
            small = read_settings(find_recipe(f"peers/{name}_small"))
            assert small.system == name
            assert (small.peer.input_px, small.peer.width_factor) != (0, 1.0)
    uses = {each.stem: read_settings(each) for each in (shipped.recipes() / "peers").glob("*.toml")}
    # Equal budgets: 240,000 frames of 1,200 videos, and 24,000 for a CPU. FAS-SGTD sees a clip in half of its uses.
    frames_of_a_use = {"fas_sgtd": 2.5, "eulernet": 4}
    for name, each in uses.items():
        clips = 1_200 * each.data.clips_per_video
        frames = (
            each.optimizer.epochs * each.augmentation.windows_per_clip * clips * frames_of_a_use.get(each.system, 1)
        )
        assert frames == (24_000 if name.endswith("_small") else 240_000), name
