# SPDX-License-Identifier: Apache-2.0
"""FCAM: gated channels of each map, filter state, and independence of pixels and frames."""

import pytest
import torch

from eulernet.diirf import started
from eulernet.fcam import FCAM

N, T, C, K, H, W = 2, 3, 12, 4, 5, 6


@pytest.fixture(params=[False, True], ids=["free", "differential"])
def fcam(request: pytest.FixtureRequest) -> FCAM:
    torch.manual_seed(0)
    return FCAM(C, K, differential=request.param)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(N * T, C, H, W, generator=torch.Generator().manual_seed(1))


def zeros(n: int = N) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(n, K, H, W), torch.zeros(n, K, H, W)


@pytest.mark.parametrize(("channels", "maps"), [(12, 1), (12, 4), (12, 12), (32, 4)])
def test_shapes(channels: int, maps: int) -> None:
    state = torch.zeros(N, maps, H, W)
    y, _, h1, h2 = FCAM(channels, maps)(torch.randn(N * T, channels, H, W), state, state)
    assert y.shape == (N * T, channels, H, W)
    assert h1.shape == h2.shape == (N, maps, H, W)
    assert torch.isfinite(y).all()


def test_it_is_the_formula(fcam: FCAM, x: torch.Tensor) -> None:
    y, filtered_maps, h1, h2 = fcam(x, *zeros())
    for n in range(N):
        frames = x.reshape(N, T, C, H, W)[n]
        compressed = torch.einsum("kc,tchw->tkhw", fcam.compress.weight[:, :, 0, 0], frames)
        first = started(compressed[None, 0], fcam.filter.start())
        filtered, n1, n2 = fcam.filter(compressed[None], *first)
        for c in range(C):
            expected = frames[:, c] * torch.sigmoid(filtered[0, :, c // (C // K)])
            torch.testing.assert_close(y.reshape(N, T, C, H, W)[n, :, c], expected)
        torch.testing.assert_close(filtered_maps.reshape(N, T, K, H, W)[n], filtered[0])
        torch.testing.assert_close((h1[n], h2[n]), (n1[0], n2[0]))


def test_one_map_gates_all_channels_alike(x: torch.Tensor) -> None:
    torch.manual_seed(0)
    state = torch.zeros(N, 1, H, W)
    y, *_ = FCAM(C, 1)(x, state, state)
    gate = y / x
    torch.testing.assert_close(gate, gate[:, :1].expand_as(gate))
    assert gate.std() > 1e-3


def test_a_gate_is_between_0_and_1(fcam: FCAM, x: torch.Tensor) -> None:
    y, *_ = fcam(x, *zeros())
    assert ((y / x > 0) & (y / x < 1)).all()


def test_a_pixel_depends_on_itself_alone(fcam: FCAM, x: torch.Tensor) -> None:
    changed = x.clone()
    changed[:, :, 2, 3] += 1.0
    different = (fcam(changed, *zeros())[0] != fcam(x, *zeros())[0]).any(dim=1)
    assert different[:, 2, 3].all()
    different[:, 2, 3] = False
    assert not different.any()


def test_all_usable_is_no_status(fcam: FCAM, x: torch.Tensor) -> None:
    usable, start = torch.ones(N, T, dtype=torch.bool), torch.zeros(N, T, dtype=torch.bool)
    start[:, 0] = True
    for plain, gated in zip(fcam(x, *zeros()), fcam(x, *zeros(), usable, start), strict=True):
        torch.testing.assert_close(plain, gated, rtol=0, atol=1e-6)


def test_an_unusable_frame_holds_and_a_start_drops_the_state_row_by_row(fcam: FCAM, x: torch.Tensor) -> None:
    usable = torch.tensor([[True, False, True], [True, True, True]])
    start = torch.tensor([[True, False, False], [True, False, True]])
    y, _, h1, h2 = fcam(x, *zeros(), usable, start)
    clips = x.reshape(N, T, C, H, W)
    held, _, held1, held2 = fcam(clips[0, [0, 2]], *zeros(1))
    fresh, _, fresh1, fresh2 = fcam(clips[1, 2:], *zeros(1))
    torch.testing.assert_close((y[2], h1[0], h2[0]), (held[1], held1[0], held2[0]))
    torch.testing.assert_close((y[5], h1[1], h2[1]), (fresh[0], fresh1[0], fresh2[0]))


def test_channels_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="12 channels over 5 maps"):
        FCAM(12, 5)
