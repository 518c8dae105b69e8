# SPDX-License-Identifier: Apache-2.0
"""The residual pyramid: its residuals, and the effect of each level on the output."""

import pytest
import torch

from eulernet.residual_pyramid import DeepestLevel, ResidualPyramid, upsample

CHANNELS = (4, 6, 8)


@pytest.fixture
def levels() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, c, 32 >> i, 32 >> i, generator=generator) for i, c in enumerate(CHANNELS)]


@pytest.fixture
def pyramid() -> ResidualPyramid:
    torch.manual_seed(0)
    return ResidualPyramid(CHANNELS, width=5).eval()


def test_comes_out_at_the_middle_level(pyramid: ResidualPyramid, levels: list[torch.Tensor]) -> None:
    y = pyramid(levels)
    assert y.shape == (2, 5, 16, 16)
    assert torch.isfinite(y).all()


def test_residuals_and_base_rebuild_every_level(pyramid: ResidualPyramid, levels: list[torch.Tensor]) -> None:
    r0, r1, r2 = pyramid.residuals(levels)
    p0, p1, p2 = (project(level) for project, level in zip(pyramid.project, levels, strict=True))
    torch.testing.assert_close(r2, p2)
    torch.testing.assert_close(r1 + upsample(r2), p1)
    torch.testing.assert_close(r0 + upsample(p1), p0)


def test_what_the_coarser_level_has_leaves_no_residual(pyramid: ResidualPyramid) -> None:
    flat = [torch.ones(1, c, 32 >> i, 32 >> i) for i, c in enumerate(CHANNELS)]
    with torch.no_grad():
        for project, c in zip(pyramid.project, CHANNELS, strict=True):
            project.weight.fill_(1.0 / c)
            project.bias.zero_()
    r0, r1, r2 = pyramid.residuals(flat)
    assert r0.abs().max() < 1e-6
    assert r1.abs().max() < 1e-6
    torch.testing.assert_close(r2, torch.ones_like(r2))


def test_the_finest_detail_is_not_averaged_away(pyramid: ResidualPyramid, levels: list[torch.Tensor]) -> None:
    # A one-pixel checkerboard has mean zero in every 2x2 block, so average pooling would not change the output.
    checker = torch.ones(32, 32)
    checker[::2, ::2] = checker[1::2, 1::2] = -1.0
    assert (pyramid([levels[0] + checker, *levels[1:]]) - pyramid(levels)).abs().max() > 1e-2


def test_context_carries_one_place_to_all_others(levels: list[torch.Tensor]) -> None:
    torch.manual_seed(0)
    pyramid = ResidualPyramid(CHANNELS, width=5, context=True).eval()
    changed = [level.clone() for level in levels]
    changed[2][:, :, 0, 0] += 10.0
    elsewhere = (pyramid(changed) - pyramid(levels))[:, :, 8:, 8:].abs()
    assert (elsewhere.amax(dim=1) > 0).all()
    pyramid.context = None
    assert (pyramid(changed) - pyramid(levels))[:, :, 8:, 8:].abs().max() == 0


def test_all_three_residuals_are_fused(pyramid: ResidualPyramid, levels: list[torch.Tensor]) -> None:
    seen: list[torch.Tensor] = []
    pyramid.fuse.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs))
    pyramid(levels)
    r0, r1, r2 = pyramid.residuals(levels)
    torch.testing.assert_close(seen[0].split(5, dim=1), (pyramid.down(r0), r1, upsample(r2)))


@pytest.mark.parametrize("level", range(3))
def test_every_level_counts(pyramid: ResidualPyramid, levels: list[torch.Tensor], level: int) -> None:
    inputs = [tensor.requires_grad_() for tensor in levels]
    pyramid(inputs).sum().backward()
    gradient = inputs[level].grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_without_it_the_deepest_level_alone_counts(levels: list[torch.Tensor]) -> None:
    torch.manual_seed(0)
    neck = DeepestLevel(CHANNELS, width=5).eval()
    y = neck(levels)
    assert y.shape == (2, 5, 16, 16)
    assert torch.equal(y, neck([torch.zeros_like(levels[0]), torch.zeros_like(levels[1]), levels[2]]))
    assert not torch.equal(y, neck([*levels[:2], levels[2] + 1.0]))


def test_another_number_of_levels_is_refused() -> None:
    with pytest.raises(ValueError, match="residual pyramid of 2 levels"):
        ResidualPyramid((4, 8), width=4)
