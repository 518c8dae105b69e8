# SPDX-License-Identifier: Apache-2.0
"""The networks of other systems: sizes as counted from their sources, and the operators that distinguish them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from eulernet.learning.settings import SYSTEMS, PeerSettings, SettingsError
from eulernet.peers.cdcn import THETA, CentralDifferenceConv
from eulernet.peers.disentangled import binary_patterns, pairs
from eulernet.peers.fas_sgtd import FASSGTD, ConvGRU, Sobel
from eulernet.peers.minifasnet_training import MiniFASNetPair, class_loss, fourier_spectra
from eulernet.peers.peer_network import PeerNetwork, scoring_copy
from eulernet.peers.systems import NETWORKS, create_peer

SMALL = PeerSettings(input_px=32, width_factor=0.0625)


def network(name: str, **config: float) -> PeerNetwork:
    """On the device `meta`, without data."""
    with torch.device("meta"):
        return NETWORKS[name](PeerSettings(**config)).eval()


def mega_macs(call: Callable[[], object]) -> float:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 2e6


def of_clip(each: PeerNetwork, frames: int) -> float:
    return mega_macs(lambda: each(torch.zeros(1, frames, 256, 256, 3, dtype=torch.uint8, device="meta")))


def test_every_system_of_a_recipe_has_a_network() -> None:
    assert set(NETWORKS) == set(SYSTEMS) - {"eulernet"}


# Counted from the sources' layer tables; CDCN's also in its papers' reproductions.
@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("deep_pix_bis", 3_198_726, 4_585),
        ("cdcn", 2_245_016, 47_338),
        ("minifasnet", 434_560 + 433_586, 40.7 + 40.9),
    ],
)
def test_single_frame_systems_have_their_published_size(name: str, parameters: int, macs: float) -> None:
    each = network(name)
    assert each.scoring_parameters() == parameters
    assert of_clip(each, 1) == pytest.approx(macs, rel=1e-3)


def test_the_published_form_of_cdcn_takes_a_ninth_more() -> None:
    assert of_clip(network("cdcn"), 1) * 10 / 9 == pytest.approx(52_600, rel=1e-3)


def test_fas_sgtd_has_its_published_size() -> None:
    each = network("fas_sgtd")
    assert isinstance(each, FASSGTD)
    assert sum(p.numel() for p in each.single.parameters()) == 2_469_697
    assert each.scoring_parameters() == 4_615_873

    gradients = [0.0]

    def count(module: nn.Module, inputs: tuple[Tensor, ...], _: object) -> None:
        gradients[0] += 2 * 9 * inputs[0].numel() / 1e6

    for module in each.modules():
        if isinstance(module, Sobel):
            module.register_forward_hook(count)
    # The counts of the source leave out the fixed kernels of the gradients.
    single = mega_macs(lambda: each.single_maps(torch.zeros(1, 3, 256, 256, device="meta")))
    assert single - gradients[0] == pytest.approx(51_700, rel=1e-3)
    gradients[0] = 0.0
    assert of_clip(each, 5) - gradients[0] == pytest.approx(382_500, rel=1e-3)


def test_disentangled_scores_without_its_discriminators() -> None:
    each = network("disentangled")
    assert each.scoring_parameters() < sum(p.numel() for p in each.parameters())
    copied = scoring_copy(create_peer("disentangled", SMALL, 0))
    assert not hasattr(copied, "discriminators")
    assert copied(torch.zeros(1, 1, 64, 64, 3, dtype=torch.uint8)).shape == (1,)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_copy_for_inference_scores_alike_and_a_seed_gives_the_weights(
    name: str, make_clip: Callable[..., Tensor]
) -> None:
    config = PeerSettings() if name == "minifasnet" else SMALL
    first, again, other = (create_peer(name, config, seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
    clips = make_clip(2, 3)
    with torch.inference_mode():
        expected = first.eval().clip_values(clips.permute(0, 1, 4, 2, 3) / 255.0)
        found = scoring_copy(first).clip_values(clips.permute(0, 1, 4, 2, 3) / 255.0)
        liveness = first(clips)
    assert torch.isfinite(expected).all()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(liveness, torch.sigmoid(8.0 * (expected - 0.5)))
    assert first.training_only == () or len(list(scoring_copy(first).parameters())) < len(list(first.parameters()))


def test_a_clip_s_score_is_the_mean_of_its_frames(make_clip: Callable[..., Tensor]) -> None:
    each = create_peer("cdcn", SMALL, 0).eval()
    clips = make_clip(2, 4).permute(0, 1, 4, 2, 3) / 255.0
    with torch.inference_mode():
        frames = torch.stack([each.clip_values(clips[:, t : t + 1]) for t in range(4)])
        torch.testing.assert_close(each.clip_values(clips), frames.mean(dim=0))


def test_one_convolution_is_the_central_difference_of_the_paper() -> None:
    conv = CentralDifferenceConv(3, 5, THETA)
    x = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    plain = functional.conv2d(x, conv.weight, padding=1)
    wanted = plain - THETA * functional.conv2d(x, conv.weight.sum(dim=(2, 3), keepdim=True))
    torch.testing.assert_close(conv(x), wanted, rtol=1e-4, atol=1e-5)
    assert (conv(x) - plain).abs().max() > 0.01
    conv.fold()
    torch.testing.assert_close(conv(x), wanted, rtol=1e-4, atol=1e-5)
    assert conv.theta == 0.0


def test_the_gru_recurs_over_time_and_not_over_clips() -> None:
    gru = ConvGRU(2, 3)
    x = torch.randn(2, 4, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    states = gru(x)
    assert states.shape == (2, 4, 3, 6, 6)
    changed = x.clone()
    changed[0, 1] += 1.0
    again = gru(changed)
    assert torch.equal(again[1], states[1])
    assert torch.equal(again[0, 0], states[0, 0])
    assert all((again[0, t] - states[0, t]).abs().max() > 1e-4 for t in (1, 2, 3))


def test_fas_sgtd_sees_time(make_clip: Callable[..., Tensor]) -> None:
    each = create_peer("fas_sgtd", SMALL, 0).eval()
    clips = make_clip(1, 4).permute(0, 1, 4, 2, 3) / 255.0
    with torch.inference_mode():
        forward, backward = each.clip_values(clips), each.clip_values(clips.flip(1))
    assert (forward - backward).abs().max() > 1e-6


def test_gradients_are_of_brightness() -> None:
    slope = torch.arange(8.0).expand(1, 2, 8, 8) * 0.5
    across, down = Sobel()(slope)
    assert torch.equal(across[..., 1:-1, 1:-1], torch.full((1, 2, 6, 6), 4.0))  # 8 times the step
    assert down[..., 1:-1, 1:-1].abs().max() == 0


def test_binary_patterns_by_hand() -> None:
    picture = torch.zeros(1, 3, 5, 5)
    picture[:, :, 2, 2] = 1.0
    patterns = binary_patterns(picture) * 255.0
    assert patterns[0, 2, 2] == 0  # no neighbour is as bright
    assert patterns[0, 0, 0] == 255
    assert patterns[0, 1, 1] == 255
    picture[:, :, 1, 1] = 1.0
    assert (binary_patterns(picture) * 255.0)[0, 2, 2] == pytest.approx(1)  # the first bit


def test_attacks_are_paired_with_bona_fide_pictures_in_turn() -> None:
    own, other = pairs(torch.tensor([0.0, 1.0, 0.0, 0.0, 1.0]))
    assert own.tolist() == [0, 2, 3, 1, 4, 1]
    assert other.tolist() == [1, 4, 1, 0, 2, 3]
    assert len(pairs(torch.ones(3))[0]) == 0


def test_minifasnet_sees_two_parts_of_the_crop_in_its_own_colours() -> None:
    each = create_peer("minifasnet", PeerSettings(), 0)
    assert isinstance(each, MiniFASNetPair)
    crop = torch.zeros(1, 3, 200, 200)
    crop[:, 0] = 1.0  # red
    crop[:, 2, 60:140, 60:140] = 1.0
    small, whole = each.inputs(crop)
    assert small.shape == whole.shape == (1, 3, 80, 80)
    assert float(small[:, 2].min()) == pytest.approx(255.0)
    # The square has 80 px of the 200 that V1SE sees, and of the 136 that V2 sees: 2.7 of 4.0 boxes.
    for seen, side in ((whole, 200), (small, 136)):
        assert float((seen[0, 0] > 127).sum()) ** 0.5 == pytest.approx(80 * 80 / side, abs=1)


def test_losses_of_minifasnet_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.2, 0.5, 0.3], [0.2, 0.5, 0.3]]))
    expected = -torch.log(torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(class_loss(logits, torch.tensor([1.0, 0.0])), expected)
    smooth = functional.interpolate(torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)), size=(80, 80))
    spectrum = fourier_spectra(255.0 * smooth)[0]
    assert spectrum.shape == (10, 10)
    assert 0.0 <= spectrum.min() <= spectrum.max() <= 1.0
    # Slow waves are in the middle.
    assert spectrum[4:6, 4:6].mean() > 1.5 * spectrum[[0, 0, 9, 9], [0, 9, 0, 9]].mean()


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("cdcn", {"input_px": 100}, "CDCN needs a multiple of 8"),
        ("deep_pix_bis", {"input_px": 40}, "multiple of 16"),
        ("minifasnet", {"input_px": 160}, "one size"),
        ("minifasnet", {"width_factor": 0.5}, "one size"),
    ],
)
def test_impossible_sizes_are_named(name: str, config: dict[str, float], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        network(name, **config)


def test_reduced_sizes_are_in_the_label() -> None:
    assert network("cdcn").label == "CDCN"
    assert network("cdcn", input_px=96, width_factor=0.5).label == "CDCN (96 px, 0.5 of the channels)"
    assert network("deep_pix_bis", input_px=224).label == "DeepPixBiS"
