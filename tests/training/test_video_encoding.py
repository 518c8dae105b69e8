# SPDX-License-Identifier: Apache-2.0
"""Training clips as from smaller, compressed videos."""

import numpy as np
import pytest
import torch

from eulernet.learning.settings import EncodingSettings, SettingsError, read_settings
from eulernet.learning.video_encoding import encode_and_decode, encoded

SIDE_PX = 96


def clips_of(count: int) -> torch.Tensor:
    """Fine texture over a slope, moved by two pixels from frame to frame: uint8 (count, 4, SIDE_PX, SIDE_PX, 3)."""
    random = np.random.default_rng(0)
    slope = np.linspace(60, 190, SIDE_PX)[:, None, None]
    pictures = np.clip(slope + random.normal(0, 14, (count, SIDE_PX, SIDE_PX + 8, 1)), 0, 255).astype(np.uint8)
    frames = [pictures[:, :, 2 * t : 2 * t + SIDE_PX] for t in range(4)]
    return torch.from_numpy(np.repeat(np.stack(frames, 1), 3, -1))


def drawn(clips: torch.Tensor, settings: EncodingSettings, seed: int = 1) -> torch.Tensor:
    return encoded(clips, SIDE_PX, settings, torch.Generator().manual_seed(seed))


def detail(clips: torch.Tensor) -> float:
    """Mean difference of the brightness of neighbouring pixels."""
    return float(clips.float().mean(-1).diff(dim=-1).abs().mean())


def test_a_share_is_encoded_and_the_rest_is_kept():
    clips = clips_of(40)
    found = drawn(clips, EncodingSettings(share=0.5, smallest_px=48))
    assert (found.shape, found.dtype) == (clips.shape, torch.uint8)
    kept = [torch.equal(one, other) for one, other in zip(clips, found, strict=True)]
    assert 10 < sum(kept) < 30
    assert torch.equal(found, drawn(clips, EncodingSettings(share=0.5, smallest_px=48)))  # so that runs can resume
    assert not torch.equal(found, drawn(clips, EncodingSettings(share=0.5, smallest_px=48), seed=2))
    assert drawn(clips, EncodingSettings()) is clips
    assert torch.equal(clips, clips_of(40))  # the caller's own stay as they are


def test_smaller_and_coarser_videos_keep_less_detail():
    clips = clips_of(6)
    levels = [(96, 12.0), (96, 34.0), (32, 34.0)]
    details = []
    for smallest, crf in levels:
        settings = EncodingSettings(share=1.0, smallest_px=smallest, lowest_crf=crf, highest_crf=crf)
        details.append(detail(drawn(clips, settings)))
    assert detail(clips) > details[0] > 2 * details[1] > 4 * details[2]


def test_a_smaller_crop_is_not_enlarged():
    clips = clips_of(6)
    small, same = (drawn(clips, EncodingSettings(share=1.0, smallest_px=side)) for side in (3 * SIDE_PX, SIDE_PX))
    assert torch.equal(small, same)


def test_pictures_keep_their_order_colours_and_place():
    frames = [np.full((64, 64, 3), (30 + 50 * t, 200 - 40 * t, 90), np.uint8) for t in range(4)]
    for frame in frames:
        frame[:32, :32] = 235
    found = encode_and_decode(frames, 64, 8.0)
    assert len(found) == 4
    for frame, decoded in zip(frames, found, strict=True):
        # The upper left quarter and the others, away from the edge between them, which chroma blurs.
        for part in (np.s_[4:28, 4:28], np.s_[36:60, 36:60]):
            assert np.abs(decoded[part].astype(int) - frame[part]).mean() < 4


def test_a_still_stays_nearly_still():
    """Compression gives a frozen twin no motion that would look like life."""
    still = clips_of(1)[0, :1].repeat(4, 1, 1, 1).numpy()
    moving = clips_of(1)[0].numpy()
    change = [
        np.abs(np.diff(np.stack(encode_and_decode(list(each), 96, 28.0)).astype(int), axis=0)).mean()
        for each in (still, moving)
    ]
    assert change[0] < 0.3 * change[1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("share = 1.5", "share = 1.5: choose a share"),
        ("smallest_px = 8", "smallest_px = 8: choose at least 32"),
        ("lowest_crf = 40", "lowest_crf = 40.0, highest_crf = 34.0"),
        ("highest_crf = 60", ".*highest_crf = 60.0.*51"),
    ],
)
def test_what_can_not_be_set(line, message, tmp_path):
    (tmp_path / "a.toml").write_text(f"[encoding]\n{line}\n")
    with pytest.raises(SettingsError, match=f"a.toml: {message}"):
        read_settings(tmp_path / "a.toml")


def test_other_systems_have_their_own_augmentation(tmp_path):
    (tmp_path / "a.toml").write_text('system = "cdcn"\n[encoding]\nshare = 0.5\n')
    with pytest.raises(SettingsError, match=r"\[encoding\] has no effect on the system cdcn"):
        read_settings(tmp_path / "a.toml")
