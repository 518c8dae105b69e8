# SPDX-License-Identifier: Apache-2.0
"""EulerNet: agreement of its two forms, effects of STATUS, reproducible initialisation, and the cost budget."""

import dataclasses
import hashlib
import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from eulernet.network import EulerNet, NetworkConfig, Prediction, State, create
from eulernet.scoring.scorers import _final
from eulernet.summary import measure
from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.status import Status

LEAN = NetworkConfig(image_size=64)
# Nothing of the default: filters that start from zero, no difference between frames, full convolutions.
PLAIN = NetworkConfig(
    widths=(16, 32, 64, 128),
    pyramid_width=32,
    light_pyramid=False,
    frame_difference="none",
    differential=False,
    global_context=False,
    image_size=64,
)
MakeClip = Callable[..., Tensor]

STATUSES = {
    "all usable": [[0, 0, 0, 0], [1, 1, 1, 1]],
    "bad frames": [[4, 0, 0, 0], [0, 8, 0, 16]],
    "restarts": [[2, 0, 0, 0], [0, 3, 2, 0]],
    "bad and restart": [[0, 4, 2, 1], [2, 5, 9, 3]],
    "nothing usable": [[4, 4, 4, 4], [12, 28, 6, 7]],
    "notes": [[32, 64, 128, 224], [65, 132, 34, 255]],
    "restart at a bad frame": [[0, 10, 0, 0], [0, 6, 18, 32]],
}


@pytest.fixture(scope="module", params=[PLAIN, LEAN], ids=["plain", "lean"])
def network(request: pytest.FixtureRequest) -> EulerNet:
    return create(config=request.param)


def int32(rows: list[list[int]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.int32)


@torch.no_grad()
def play(network: EulerNet, clip: Tensor, status: Tensor, state: State | None = None) -> tuple[Prediction, State]:
    """`step` over the frames of a clip, with the predictions stacked as in `forward`."""
    state = network.initial_state(clip.shape[0]) if state is None else state
    frames = []
    for t in range(clip.shape[1]):
        prediction, state = network.step(clip[:, t], status[:, t : t + 1], state)
        frames.append(prediction)
    liveness = torch.cat([frame.liveness for frame in frames], dim=1)
    maps = torch.stack([frame.location_map for frame in frames], dim=1)
    return Prediction(liveness, maps, torch.cat([frame.frame_count for frame in frames], dim=1)), state


def assert_same(actual: Prediction, expected: Prediction, tolerance: float = 1e-5) -> None:
    for name, a, b in zip(Prediction._fields, actual, expected, strict=True):
        assert not torch.isnan(a).any(), name
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("status", STATUSES.values(), ids=STATUSES.keys())
def test_a_clip_is_its_steps(network: EulerNet, make_clip: MakeClip, status: list[list[int]]) -> None:
    clip = make_clip(2)
    with torch.no_grad():
        whole = network(clip, int32(status))
    assert_same(play(network, clip, int32(status))[0], whole)


ABLATED = [
    *(dataclasses.replace(PLAIN, fcam=fcam, pyramid=pyramid) for fcam, pyramid in ((0, 1), (1, 0), (0, 0))),
    *(dataclasses.replace(LEAN, fcam=fcam, pyramid=pyramid) for fcam, pyramid in ((0, 1), (1, 0))),
    dataclasses.replace(LEAN, change_maps=True),
    *(dataclasses.replace(LEAN, frame_difference=difference) for difference in ("none", "colour")),
    dataclasses.replace(LEAN, differential=False),
    dataclasses.replace(LEAN, stem="patch", widths=(16, 16, 48, 96)),
    *(dataclasses.replace(LEAN, block=block) for block in ("single", "separable")),
]


@pytest.mark.parametrize("config", ABLATED)
def test_an_ablations_clip_is_its_steps(make_clip: MakeClip, config: NetworkConfig) -> None:
    ablated, clip, status = create(config=config), make_clip(2), int32(STATUSES["bad and restart"])
    with torch.no_grad():
        whole = ablated(clip, status)
    assert whole.location_map.std() > 0
    assert_same(play(ablated, clip, status)[0], whole)


def test_a_full_size_clip_is_its_steps(make_clip: MakeClip) -> None:
    network, clip, status = create(), make_clip(1, size=256), int32([[0, 4, 0, 2]])
    with torch.no_grad():
        whole = network(clip, status)
    assert whole.liveness.shape == (1, CLIP_FRAMES)
    assert whole.location_map.shape == (1, CLIP_FRAMES, 32, 32)
    assert whole.frame_count.dtype == torch.int32
    assert_same(play(network, clip, status)[0], whole)


def test_no_status_is_every_frame_usable(network: EulerNet, make_clip: MakeClip) -> None:
    clip = make_clip(2)
    with torch.no_grad():
        assert_same(network(clip), network(clip, torch.zeros(2, 4, dtype=torch.int32)), tolerance=1e-6)


@pytest.mark.parametrize(
    ("status", "counts"),
    [([0, 1, 0, 0], [1, 2, 3, 4]), ([4, 0, 8, 0], [0, 1, 1, 2]), ([32, 224, 36, 64], [1, 2, 2, 3])],
)
def test_frame_counts(network: EulerNet, make_clip: MakeClip, status: list[int], counts: list[int]) -> None:
    assert network(make_clip(1), int32([status])).frame_count.tolist() == [counts]


def test_a_restart_counts_from_one(network: EulerNet, make_clip: MakeClip) -> None:
    assert network(make_clip(1, 6), int32([[0, 0, 2, 0, 4, 3]])).frame_count.tolist() == [[1, 2, 1, 2, 2, 1]]


def test_a_restart_at_an_unusable_frame_counts_from_zero(network: EulerNet, make_clip: MakeClip) -> None:
    assert network(make_clip(1, 6), int32([[0, 0, 10, 4, 0, 64]])).frame_count.tolist() == [[1, 2, 0, 0, 1, 2]]


def running(network: EulerNet, n: int) -> State:
    """States of n sequences that have seen 7 frames, all values different from 0."""
    values = {torch.int32: 7, torch.uint8: 99, torch.float32: 0.25}
    return tuple(torch.full_like(tensor, values[tensor.dtype]) for tensor in network.initial_state(n))


@torch.no_grad()
@pytest.mark.parametrize("config", [PLAIN, LEAN], ids=["plain", "lean"])
def test_every_status_in_both_forms(make_clip: MakeClip, config: NetworkConfig) -> None:
    """0 to 255: a step and the second frame of a clip do what the flags say."""
    network = create(config=dataclasses.replace(config, image_size=32))
    flags = torch.arange(256, dtype=torch.int32)[:, None]
    frames = make_clip(1, 2, size=32).expand(256, -1, -1, -1, -1)
    begun = running(network, 256)
    stepped, after = network.step(frames[:, 1], flags, begun)
    whole = network(frames, torch.cat([torch.zeros_like(flags), flags], dim=1))
    for number in range(256):
        status = Status(number)
        restarts, usable = bool(status & Status.RELOCATED), status.usable
        before = 0 if restarts else 7
        assert stepped.frame_count[number].tolist() == [before + usable], status
        assert whole.frame_count[number].tolist() == [1, (0 if restarts else 1) + usable], status
        assert bool(stepped.liveness[number] > 0) is usable is bool(whole.liveness[number, 1] > 0), status
        assert bool(stepped.location_map[number].any()) is usable is bool(whole.location_map[number, 1].any()), status
        if not usable:
            assert all(torch.equal(a[number], b[number]) for a, b in zip(after[:-1], begun, strict=False)), status
    for tensor in after:  # other flags change nothing
        for same in ((0, 1, 32, 64, 128, 225), (2, 3, 34, 227), (4, 8, 16, 28, 60, 253), (6, 10, 18, 30, 255)):
            expected = tensor[same[0]].expand(len(same), *tensor.shape[1:])
            torch.testing.assert_close(tensor[list(same)], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("status", [-1, -2, -(2**31), 2**31 - 1, 2**30, 256])
def test_unknown_flags_are_no_error(network: EulerNet, make_clip: MakeClip, status: int) -> None:
    prediction, state = network.step(make_clip(1)[:, 0], int32([[status]]), running(network, 1))
    assert bool(prediction.liveness.item() > 0) is ((status & 28) == 0)
    assert bool(prediction.frame_count.item() >= 7) is ((status & 2) == 0)
    assert all(torch.isfinite(tensor).all() for tensor in (*prediction, *state))


@pytest.mark.parametrize("status", [4, 5, 36, 8, 16, 28, 229])
def test_an_unusable_frame_scores_zero_and_leaves_the_state(
    network: EulerNet, make_clip: MakeClip, status: int
) -> None:
    clip = make_clip(1)
    _, before = play(network, clip, torch.zeros(1, 4, dtype=torch.int32))
    prediction, after = network.step(clip[:, 0], int32([[status]]), before)
    assert prediction.liveness.tolist() == [[0.0]]
    assert not prediction.location_map.any()
    assert prediction.frame_count.tolist() == [[4]]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_a_bad_frame_might_as_well_not_be_there(network: EulerNet, make_clip: MakeClip) -> None:
    clip = make_clip(1)
    with torch.no_grad():
        bad, without = network(clip, int32([[0, 0, 4, 0]])), network(clip[:, [0, 1, 3]])
    torch.testing.assert_close(bad.location_map[:, [0, 1, 3]], without.location_map)
    torch.testing.assert_close(bad.liveness[:, [0, 1, 3]], without.liveness)


@pytest.mark.parametrize("status", [[0, 10, 0, 0], [0, 2, 0, 0]])
def test_nothing_before_a_restart_counts(network: EulerNet, make_clip: MakeClip, status: list[int]) -> None:
    clip, other = make_clip(1, seed=0), make_clip(1, seed=1)
    changed = torch.cat([other[:, :1], clip[:, 1:]], dim=1)
    with torch.no_grad():
        assert_same(
            Prediction(*(tensor[:, 1:] for tensor in network(changed, int32([status])))),
            Prediction(*(tensor[:, 1:] for tensor in network(clip, int32([status])))),
        )


def test_a_restart_is_a_new_sequence(network: EulerNet, make_clip: MakeClip) -> None:
    clip = make_clip(1)
    with torch.no_grad():
        again, fresh = network(clip, int32([[0, 0, 2, 0]])), network(clip[:, 2:])
        carried = network(clip)
    torch.testing.assert_close(again.location_map[:, 2:], fresh.location_map)
    assert (again.location_map[:, 2:] - carried.location_map[:, 2:]).abs().max() > 1e-4


def test_a_long_stream_is_one_short_sequence_after_another(network: EulerNet, make_clip: MakeClip) -> None:
    status = [[0, 4, 1, 0, 0, 4, 0, 0, 2, 0, 0, 0, 0, 0, 8, 0, 0, 0, 10, 0], [0] * 20]
    clip = make_clip(2, 20)
    short = create(config=dataclasses.replace(network.config, longest_sequence=5))
    with torch.no_grad():
        whole, (steps, _) = short(clip, int32(status)), play(short, clip, int32(status))
        plain, second, ending = short(clip[1:]), short(clip[1:, 5:10]), short(clip[1:, :7])
        endless = create(config=dataclasses.replace(network.config, longest_sequence=0))(clip[1:])
    assert_same(steps, whole)
    assert whole.frame_count.tolist() == [
        [1, 1, 2, 3, 4, 4, 5, 1, 1, 2, 3, 4, 5, 1, 1, 2, 3, 4, 0, 1],
        [1, 2, 3, 4, 5] * 4,
    ]
    assert_same(plain, Prediction(*(each[1:] for each in whole)))
    torch.testing.assert_close(plain.liveness[:, 5:10], second.liveness)
    assert endless.frame_count[0, -1] == 20
    torch.testing.assert_close(_final(plain), plain.liveness[:, 19])
    torch.testing.assert_close(_final(ending), ending.liveness[:, 4])  # frames 6 and 7 begin another sequence
    assert (endless.location_map[:, 5:] - plain.location_map[:, 5:]).abs().max() > 1e-4


@pytest.mark.parametrize("length", [-1, 1, CLIP_FRAMES - 1])
def test_a_sequence_has_room_for_a_clip(length: int) -> None:
    with pytest.raises(ValueError, match=f"longest_sequence {length}"):
        NetworkConfig(longest_sequence=length)


def test_the_past_counts_and_the_future_does_not(network: EulerNet, make_clip: MakeClip) -> None:
    clip, other = make_clip(1, seed=0), make_clip(1, seed=1)
    for t in range(CLIP_FRAMES):
        changed = clip.clone()
        changed[:, t] = other[:, t]
        with torch.no_grad():
            difference = (network(changed).location_map - network(clip).location_map).abs().amax(dim=(0, 2, 3))
        assert difference[:t].eq(0).all()
        assert difference[t:].gt(1e-5).all()


def test_without_fcam_frames_know_nothing_of_each_other(make_clip: MakeClip) -> None:
    network, clip = create(config=dataclasses.replace(PLAIN, fcam=False)), make_clip(1)
    with torch.no_grad():
        torch.testing.assert_close(network(clip).location_map[:, 3], network(clip[:, 3:]).location_map[:, 0])
    assert len(network.initial_state(1)) == 1


def test_rows_of_a_batch_do_not_touch(network: EulerNet, make_clip: MakeClip) -> None:
    clip, status = make_clip(3), int32([[0, 4, 0, 0], [0, 0, 0, 2], [2, 0, 8, 0]])
    with torch.no_grad():
        together = network(clip, status)
        for n in range(3):
            alone = network(clip[n : n + 1], status[n : n + 1])
            assert_same(alone, Prediction(*(tensor[n : n + 1] for tensor in together)))


def test_state_shapes() -> None:
    levels = [(3, 4, 64, 64)] * 2 + [(3, 4, 32, 32)] * 2 + [(3, 4, 16, 16)] * 2
    assert [tuple(tensor.shape) for tensor in create().initial_state(3)] == [*levels, (3, 1, 256, 256), (3, 1)]
    *_, previous, count = create().initial_state(3)
    assert (previous.shape, previous.dtype) == ((3, 1, 256, 256), torch.uint8)
    assert (count.shape, count.dtype) == ((3, 1), torch.int32)


@torch.no_grad()
def test_a_still_passes_the_filters_of_a_lean_network_unseen(make_clip: MakeClip) -> None:
    """No filter answers a still, from its first frame on, whatever the parameters: all gates are 1/2."""
    network = create(config=LEAN)
    seen: list[Tensor] = []
    for fcam in network.fcams:
        fcam.filter.r.uniform_(-2, 2, generator=torch.Generator().manual_seed(1))
        fcam.filter.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs[0]))
    still = make_clip(1)[:, :1].expand(-1, 6, -1, -1, -1)
    prediction, _ = play(network, still, torch.zeros(1, 6, dtype=torch.int32))
    assert len(seen) == 3 * 6
    assert max(y.abs().max() for y in seen) < 1e-6
    torch.testing.assert_close(prediction.location_map, prediction.location_map[:, :1].expand(-1, 6, -1, -1))
    seen.clear()
    play(network, make_clip(1), torch.zeros(1, 4, dtype=torch.int32))
    assert min(y.abs().max() for y in seen[3:]) > 1e-3


@torch.no_grad()
def test_the_difference_is_to_the_last_usable_frame_of_the_sequence(make_clip: MakeClip) -> None:
    network, clip = create(config=dataclasses.replace(LEAN, fcam=False)), make_clip(1)
    status = int32([[0, 8, 0, 2]])
    whole = network(clip, status).location_map
    pair, alone = network(clip[:, [0, 2]]).location_map, network(clip[:, 3:]).location_map
    torch.testing.assert_close(whole[:, [0, 2, 3]], torch.cat([pair, alone], dim=1), rtol=0, atol=1e-5)
    moved = network(clip[:, [1, 2]]).location_map
    assert (moved[:, 1] - pair[:, 1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    "values",
    [{"stem": "wide"}, {"block": "dense"}, {"frame_difference": "luma"}, {"stem": "patch", "widths": (8, 16, 48, 96)}],
)
def test_an_unknown_structure_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(values.values())) if len(values) == 1 else "widths"):
        NetworkConfig(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("picture", ["black", "white", "noise"])
def test_any_picture_gives_numbers(network: EulerNet, picture: str) -> None:
    noise = torch.randint(0, 256, (2, 4, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    clip = {"black": torch.zeros_like(noise), "white": torch.full_like(noise, 255), "noise": noise}[picture]
    with torch.no_grad():
        prediction = network(clip)
    for tensor in (prediction.liveness, prediction.location_map):
        assert torch.isfinite(tensor).all()
        assert ((tensor >= 0) & (tensor <= 1)).all()


def test_normalise_is_minus_one_to_one_and_keeps_pixels_in_place(network: EulerNet) -> None:
    faces = torch.arange(2 * 4 * 5 * 3).reshape(2, 4, 5, 3).to(torch.uint8)
    faces[0, 1, 2] = torch.tensor([0, 255, 51], dtype=torch.uint8)
    pictures = network.normalise(network.pixels(faces))
    assert pictures.shape == (2, 3, 4, 5)
    torch.testing.assert_close(pictures[0, :, 1, 2], torch.tensor([-1.0, 1.0, -0.6]))
    torch.testing.assert_close((pictures.permute(0, 2, 3, 1) + 1.0) * 127.5, faces.float())


def test_liveness_is_read_off_the_map(network: EulerNet) -> None:
    maps = torch.stack([torch.zeros(8, 8), torch.full((8, 8), 0.15), torch.full((8, 8), 0.3)])[None]
    values = torch.log(torch.tensor([[0.001, 0.151, 0.301]]))
    torch.testing.assert_close(network.liveness(maps), torch.sigmoid(4.3 * (values - values[:, 1:2])))
    linear = create(config=dataclasses.replace(network.config, score="linear"))
    torch.testing.assert_close(linear.liveness(maps), torch.sigmoid(torch.tensor([[-3.0, 0.0, 3.0]])))


def test_scores_of_sure_attacks_are_low_and_keep_their_order(network: EulerNet) -> None:
    means = torch.tensor([1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.3])
    scores = network.liveness(means[None, :, None, None].expand(1, 6, 8, 8))[0]
    assert (scores.diff() > 0).all()
    assert scores[3] < 0.01


@pytest.mark.parametrize("config", [PLAIN, LEAN, *ABLATED[5:]])
def test_training_logits_are_the_maps_and_train_every_parameter(make_clip: MakeClip, config: NetworkConfig) -> None:
    network, clip = create(config=config), make_clip(2)
    pictures = torch.stack([network.normalise(network.pixels(frames)) for frames in clip])
    with torch.no_grad():
        torch.testing.assert_close(torch.sigmoid(network.logits(pictures)), network(clip).location_map)
    network.train()
    network.logits(pictures).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def digest(network: EulerNet) -> str:
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in network.parameters())).hexdigest()


def test_seed_0_is_the_same_bits_everywhere() -> None:
    torch.manual_seed(12345)
    assert digest(create(0)) == "4ba2a8b0580bb7539f9321c56fd851b711d771c9794694ce4abe64e6e346deed"


def test_seeds_differ() -> None:
    assert len({digest(create(seed, PLAIN)) for seed in range(3)}) == 3


def test_create_gives_the_mode_asked_for() -> None:
    assert not create(config=PLAIN).training
    assert create(config=PLAIN, training=True).training


def test_budget() -> None:
    total = measure(create())[-1]
    assert 0.1 < total.giga_macs < 0.17
    assert 150_000 < total.parameters < 300_000


def test_fcam_and_pyramid_can_be_switched_off() -> None:
    counts = {}
    for fcam, pyramid in itertools.product((True, False), repeat=2):
        counts[fcam, pyramid] = measure(create(config=dataclasses.replace(PLAIN, fcam=fcam, pyramid=pyramid)))[-1]
    assert counts[True, True].parameters - counts[False, True].parameters == (32 + 64 + 128) * 4 + 3 * 4 * 5
    assert counts[True, True].parameters > counts[True, False].parameters > counts[False, False].parameters
    assert counts[True, True].giga_macs > counts[True, False].giga_macs > counts[False, False].giga_macs


@pytest.mark.parametrize("size", [0, 8, 100])
def test_an_image_size_that_does_not_halve_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"image_size {size}"):
        NetworkConfig(image_size=size)


def test_a_window_is_seen_as_by_a_network_of_its_size() -> None:
    whole = create(config=NetworkConfig(image_size=96))
    part = create(config=NetworkConfig(image_size=48))
    window = 2.0 * torch.rand(2, CLIP_FRAMES, 3, 48, 48, generator=torch.Generator().manual_seed(1)) - 1.0
    seen = whole.logits(window)
    assert seen.shape == (2, CLIP_FRAMES, 6, 6)
    torch.testing.assert_close(seen, part.logits(window))
