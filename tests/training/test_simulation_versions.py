# SPDX-License-Identifier: Apache-2.0
"""The simulator's versions: what version 4 adds, and that both classes are framed and recorded alike."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from eulernet.datasets.clip_pictures import picture_clips, picture_frames
from eulernet.datasets.oulu import Name
from eulernet.labels.mesh import BROW_TOP, CHIN
from eulernet.simulation import hands, simulate_command, skin
from eulernet.simulation.attempt import Attempt, _draw_view, _sheet_view
from eulernet.simulation.conditions import NEWEST, VERSIONS
from eulernet.simulation.presets import PRESETS
from eulernet.simulation.randomness import stream
from eulernet.simulation.recording import Encoding, Recording
from eulernet.simulation.rendering import make_video
from eulernet.simulation.video_file import write_video

SEED = 5
QUICK = replace(PRESETS["tiny"], height_px=256, width_px=192, frames=12, version=4)
GIVEN = VERSIONS[4]


def test_the_presets_and_the_command_know_the_versions():
    assert set(VERSIONS) == {int(version) for version in simulate_command.VERSIONS}
    assert PRESETS["full"].version == NEWEST == 4
    assert PRESETS["full"].users == 55
    assert {PRESETS[name].version for name in ("tiny", "small")} == {3}


def test_the_command_renders_the_version_that_it_is_asked_for(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("eulernet.simulation.rendering.simulate", lambda *given, **_: asked.append(given) or (0, 270))
    for arguments in ([], ["--preset", "full"], ["--simulator-version", "4"]):
        result = CliRunner().invoke(simulate_command.simulate, ["--out", str(tmp_path), *arguments])
        assert result.exit_code == 0, result.output
    assert [preset.version for _, _, preset, _ in asked] == [3, 4, 4]


def views(count):
    """Widths of bona fide faces and of attack sheets, shares of the picture: float (count,) each."""
    rng = stream(SEED, "views")
    phones = [_draw_view(rng, GIVEN.framing, 640, 480) for _ in range(count)]
    sheets = [_sheet_view(rng, phone, GIVEN) for phone in phones]
    faces = np.array([phone.face_px / phone.width for phone in phones])
    held = [phone.face_px / sheet.face_px * sheet.width for phone, sheet in zip(phones, sheets, strict=True)]
    return faces, np.array(held) / 480


def test_faces_fill_a_quarter_to_six_tenths_of_the_height():
    attempt = Attempt(Name(1, 1, 4, 1), SEED, QUICK)
    frame, view = attempt.scene.frame(0.0), attempt.scene.view
    height_of_width = (frame.points[CHIN, 1] - frame.points[BROW_TOP, 1]) / view.face_px
    assert height_of_width == pytest.approx(1.2, abs=0.12)
    heights = views(300)[0] * 1.2 * 480 / 640
    assert heights.min() == pytest.approx(0.25, abs=0.01)
    assert heights.max() == pytest.approx(0.60, abs=0.01)


def test_edges_of_prints_and_displays_are_in_view_in_most_pictures():
    faces, sheets = views(300)
    assert 0.4 < (sheets < 1).mean() < 0.75
    assert (sheets >= faces / GIVEN.source.widest_face - 0.01).all()  # sizes are whole pixels


def test_size_codec_and_sharpness_have_the_same_distribution_in_every_class():
    names = [Name(1 + k % 6, 1 + k % 3, 1 + k // 18, file) for file in range(1, 6) for k in range(18 * 20)]
    drawn = {
        file: [GIVEN.recordings.draw(stream(SEED, "recording", name), 640, 480) for name in names if name.file == file]
        for file in range(1, 6)
    }
    for recordings in drawn.values():
        assert np.mean([each.encoding is not None for each in recordings]) == pytest.approx(
            GIVEN.recordings.h264, abs=0.09
        )
        assert np.mean([each.detail < 1 for each in recordings]) == pytest.approx(GIVEN.recordings.softened, abs=0.09)
        heights = [each.height_px for each in recordings]
        assert np.mean(heights) == pytest.approx(640 * np.mean(GIVEN.recordings.scales), rel=0.04)
        assert all(height % 16 == 0 for height in heights)


@pytest.mark.parametrize("h264", [False, True])
def test_a_video_of_either_codec_has_its_frames_and_its_bytes_are_repeatable(tmp_path, h264):
    pictures = [np.full((96, 64, 3), 20 * k, np.uint8) for k in range(12)]
    for name in ("a.avi", "b.avi"):
        write_video(tmp_path / name, pictures, 30.0, Encoding(h264, 28 if h264 else 4))
    assert (tmp_path / "a.avi").read_bytes() == (tmp_path / "b.avi").read_bytes()
    read = list(picture_frames(tmp_path / "a.avi"))
    assert len(read) == 12
    assert all(np.abs(picture.astype(int) - 20 * k).mean() < 6 for k, picture in enumerate(read))
    (clip,) = picture_clips(tmp_path / "a.avi", 1)
    assert list(clip.indices) == [1, 4, 7, 10]


def test_a_softened_picture_keeps_its_size_and_loses_detail():
    picture = stream(1, "noise").integers(0, 255, (96, 64, 3)).astype(np.uint8)
    soft = Recording(96, 64, 0.5, None).soften(picture)
    assert soft.shape == picture.shape
    assert soft.std() < 0.7 * picture.std()
    assert Recording(96, 64, 1.0, None).soften(picture) is picture


def test_a_video_of_version_4_is_written_with_its_eyes(tmp_path):
    (tmp_path / "Train_files").mkdir()
    name = Name(2, 1, 4, 5)
    path = make_video(tmp_path, "train", name, SEED, QUICK)
    pictures = list(picture_frames(path))
    assert len(pictures) == QUICK.frames
    eyes = np.loadtxt(path.with_suffix(".txt"), delimiter=",")
    assert eyes.shape == (QUICK.frames, 5)
    height, width = pictures[0].shape[:2]
    assert height * 3 == width * 4
    assert (eyes[:, [1, 3]] < width).all()
    assert (eyes[:, [2, 4]] < height).all()


def test_hands_stand_beside_the_sheet_and_cover_little_of_it():
    sheet = np.full((200, 150, 4), 0.5, np.float32)
    sheet[..., 3] = 1
    held, room = hands.add_hands(sheet, stream(1, "hands"))
    assert held.shape == (200 + 2 * room, 150 + 2 * room, 4)
    inside = held[room:-room, room:-room]
    assert (inside[..., 3] == 1).all()
    covered = (np.abs(inside[..., :3] - 0.5).max(-1) > 0.05).mean()
    assert 0 < covered < 0.35
    assert held[..., 3].max() <= 1.001
    outside = held[..., 3].copy()
    outside[room:-room, room:-room] = 0
    assert outside.max() > 0.9


def test_a_grey_beard_has_no_light_streaks():
    looks = replace(skin.Looks.draw(stream(1, "looks")), hair="bald", beard=0.6, melanin=0.5)
    looks = replace(looks, hair_colour=np.full(3, 0.4, np.float32))
    streaks = {}
    for version in VERSIONS:
        albedo, _ = skin.paint(stream(1, "paint"), looks, VERSIONS[version].people)
        columns = albedo[500:560, 440:560].mean((0, 2))  # of the chin, light or dark over many rows
        rough = columns - np.convolve(columns, np.ones(15) / 15, "same")
        streaks[version] = rough[15:-15].std() / columns.mean()
    assert streaks[4] < 0.6 * streaks[3]


@pytest.mark.parametrize("file", [1, 2, 4])
def test_another_frame_rate_is_the_same_presentation(file):
    """Every second frame at 60 frames/s is at the time of one at 30, with the eyes in the same place."""
    name = Name(3, 3, 36, file)
    slow, fast = (replace(PRESETS["full"], frames=frames, fps=fps) for frames, fps in ((3, 30.0), (6, 60.0)))
    shots, twice = (list(Attempt(name, 1, preset).shots()) for preset in (slow, fast))
    for index, shot in enumerate(shots):
        np.testing.assert_allclose(twice[2 * index].eyes, shot.eyes, atol=1e-3)
    assert float(np.abs(twice[1].picture.astype(float) - twice[0].picture).max()) > 0
