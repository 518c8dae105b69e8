# SPDX-License-Identifier: Apache-2.0
"""Eulerian magnification of known motion and pulse: a factor of 1 + alpha inside the band, and 1 outside."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image
from scipy import signal

from eulernet.datasets.clip_pictures import picture_frames
from eulernet.datasets.mp4 import write_mp4
from eulernet.diirf import BAND_HZ
from eulernet.magnification import COLOUR, MOTION, Magnifier, MagnifierSettings
from eulernet.magnification.bandpass import BandPass, butterworth
from eulernet.magnification.image_pyramid import collapse, depth, laplacian
from eulernet.magnification.magnify_command import magnify
from eulernet.magnification.strip import Row
from eulernet.simulation.data_set_folder import RECORD
from eulernet_core.errors import NotAVideoError
from eulernet_core.video import announced_frames, frame_rate

Picture = NDArray[np.uint8]
RATE_FPS = 30
BAND = (0.5, 3.0)
NARROW = replace(MOTION, low_hz=0.8, high_hz=1.3)
SETTLED_S = 3  # duration of the filter's transient


def gain(settings: MagnifierSettings, frequency_hz: float) -> float:
    """|1 + alpha H|, the factor for an oscillation of this frequency, by scipy's filter."""
    band = settings.low_hz, settings.high_hz
    sections = signal.butter(2, band, "bandpass", fs=RATE_FPS, output="sos")
    return float(abs(1 + settings.alpha * signal.sosfreqz(sections, [frequency_hz], fs=RATE_FPS)[1][0]))


def swing(values: list[float], frequency_hz: float) -> float:
    """Amplitude of a frequency in the settled part of a signal, over whole periods."""
    part = np.array(values)[SETTLED_S * RATE_FPS :]
    whole = int(int(len(part) * frequency_hz / RATE_FPS) * RATE_FPS / frequency_hz)
    time_s = np.arange(whole) / RATE_FPS
    return float(2 * abs(np.mean(part[:whole] * np.exp(-2j * np.pi * frequency_hz * time_s))))


def grating(shape: tuple[int, int], wave_px: float) -> NDArray[np.float64]:
    """Phase of slanted waves, so that rounding to whole grey levels differs from row to row."""
    return np.asarray(2 * np.pi * (np.arange(shape[1]) + 0.31 * np.arange(shape[0])[:, None]) / wave_px)


def moving(frequency_hz: float, wave_px: float = 32.0, shift_px: float = 0.05, seconds: int = 6) -> Iterator[Picture]:
    """Waves that oscillate by a twentieth of a pixel: at most one grey level of change."""
    waves = grating((97, 131), wave_px)
    for number in range(seconds * RATE_FPS):
        shift = shift_px * np.sin(2 * np.pi * frequency_hz * number / RATE_FPS)
        grey = 128 + 60 * np.sin(waves - 2 * np.pi * shift / wave_px)
        yield np.rint(grey)[..., None].repeat(3, axis=2).astype(np.uint8)


def position_px(picture: Picture, wave_px: float = 32.0) -> float:
    """Position of the waves, by the phase of their frequency."""
    inner = slice(16, -16), slice(16, -16)
    grey, waves = picture[..., 1][inner], grating(picture.shape[:2], wave_px)[inner]
    return float(-np.angle(1j * np.sum((grey - grey.mean()) * np.exp(-1j * waves))) * wave_px / (2 * np.pi))


@pytest.mark.parametrize("frequency_hz", [0.5, 1.25, 3.0])
def test_sub_pixel_motion_inside_the_band_grows_by_one_plus_alpha(frequency_hz: float) -> None:
    settings = replace(MOTION, wavelength_px=4.0)  # the same alpha for all wavelengths
    magnifier = Magnifier(settings, RATE_FPS)
    frames = list(moving(frequency_hz))
    before, after = ([position_px(p) for p in each] for each in (frames, map(magnifier, frames)))
    grown = swing(after, frequency_hz) / swing(before, frequency_hz)
    assert swing(before, frequency_hz) == pytest.approx(0.05, rel=0.02)
    assert grown == pytest.approx(gain(settings, frequency_hz), rel=0.08)
    if frequency_hz == 1.25:
        assert grown == pytest.approx(1 + settings.alpha, rel=0.08)


@pytest.mark.parametrize("frequency_hz", [0.125, 5.0, 10.0])
def test_motion_outside_the_band_stays(frequency_hz: float) -> None:
    magnifier = Magnifier(NARROW, RATE_FPS)
    frames = list(moving(frequency_hz, shift_px=0.4, seconds=11))
    before, after = ([position_px(p) for p in each] for each in (frames, map(magnifier, frames)))
    assert swing(after, frequency_hz) / swing(before, frequency_hz) == pytest.approx(1.0, abs=0.2)


def test_short_waves_grow_less_than_long_ones() -> None:
    grown = []
    for wave_px in (6.0, 12.0, 32.0):
        magnifier = Magnifier(MOTION, RATE_FPS)
        frames = list(moving(1.25, wave_px))
        before, after = ([position_px(p, wave_px) for p in each] for each in (frames, map(magnifier, frames)))
        grown.append(swing(after, 1.25) / swing(before, 1.25))
    assert all(1.5 * shorter < longer for shorter, longer in pairwise(grown))
    assert grown[-1] < 1 + MOTION.alpha


def test_alpha_keeps_the_papers_bound() -> None:
    reach = MOTION.wavelength_px / 8 / (1 + MOTION.alpha)  # the displacement bound for a wave at the cutoff
    for level in range(6):
        alpha, wave_px = MOTION.alpha_at(level), 4.0 * 2**level
        assert 0 <= alpha <= MOTION.alpha
        assert alpha == 0 or (1 + alpha) * reach <= wave_px / 8 * (1 + 1e-9)
    assert MOTION.alpha_at(0) == pytest.approx(11 * 4 / 16 - 1)
    assert replace(MOTION, wavelength_px=1000.0).alpha_at(0) == 0


def pulsing(frequency_hz: float, seconds: int = 6) -> Iterator[Picture]:
    """Skin on a grey wall, with a pulse of half a grey level below the camera's noise."""
    rng = np.random.default_rng(0)
    skin = np.zeros((128, 160, 1))
    cv2.ellipse(skin, (80, 64), (50, 60), 0, 0, 360, 1.0, -1)
    for number in range(seconds * RATE_FPS):
        beat = 0.5 * np.sin(2 * np.pi * frequency_hz * number / RATE_FPS)
        picture = 120 + skin * (np.array([60.0, 10, -10]) + beat * np.array([0.3, 1.0, 0.5]))
        yield np.clip(np.rint(picture + 2 * rng.standard_normal(picture.shape)), 0, 255).astype(np.uint8)


def test_a_pulse_in_the_colour_grows_where_the_skin_is() -> None:
    magnifier = Magnifier(COLOUR, RATE_FPS)
    frames = list(pulsing(1.5))
    magnified = [magnifier(picture) for picture in frames]
    skin, wall = (slice(54, 74), slice(70, 90)), (slice(2, 12), slice(2, 12))
    for channel, share in enumerate((0.3, 1.0, 0.5)):
        after = swing([float(p[skin][..., channel].mean()) for p in magnified], 1.5)
        assert after == pytest.approx(0.5 * share * gain(COLOUR, 1.5), rel=0.15)
    outside = swing([float(p[wall][..., 1].mean()) for p in magnified], 1.5)
    assert outside < 0.1 * swing([float(p[skin][..., 1].mean()) for p in magnified], 1.5)


def test_without_chroma_only_the_brightness_grows() -> None:
    magnifier = Magnifier(replace(COLOUR, chroma=0.0), RATE_FPS)
    changes = np.array([magnifier(p).astype(float) - p for p in pulsing(1.5)])[30:, 54:74, 70:90].mean(axis=(1, 2))
    assert np.ptp(changes, axis=0).min() > 10
    assert np.abs(changes - changes.mean(axis=1, keepdims=True)).max() < 0.5  # red, green and blue alike


@pytest.mark.parametrize("settings", [MOTION, COLOUR, replace(MOTION, alpha=200.0)], ids=["motion", "colour", "much"])
@pytest.mark.parametrize("size", [(480, 640), (121, 163), (5, 5), (2, 3), (1, 1), (7, 300)])
def test_a_still_video_stays_itself(settings: MagnifierSettings, size: tuple[int, int]) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (*size, 3)).astype(np.uint8)
    magnifier = Magnifier(settings, RATE_FPS)
    for _ in range(6):
        assert np.abs(magnifier(picture).astype(int) - picture).max() <= 1


def test_the_filter_is_scipys_butterworth_from_rest() -> None:
    x = np.random.default_rng(2).standard_normal((80, 2, 3, 3)).astype(np.float32) + 5
    band_pass = BandPass(butterworth(*BAND, RATE_FPS), x[0])
    answers = np.stack([band_pass(each) for each in x])
    expected = signal.sosfilt(signal.butter(2, BAND, "bandpass", fs=RATE_FPS, output="sos"), x - x[0], axis=0)
    np.testing.assert_allclose(answers, expected, atol=5e-6)


@pytest.mark.parametrize("size", [(64, 96), (97, 131), (5, 9)])
def test_the_pyramid_comes_apart_and_together(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(3).random((*size, 3)).astype(np.float32)
    lost, rest = laplacian(picture, depth(*size))
    assert [each.shape[:2] for each in lost[:1]] == [size]
    np.testing.assert_allclose(collapse(lost, rest), picture, atol=1e-6)


def test_band_is_that_of_the_networks_filters() -> None:
    assert (MOTION.low_hz, MOTION.high_hz) == BAND_HZ


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": -1.0}, "alpha -1.0"),
        ({"alpha": float("nan")}, "alpha nan"),
        ({"chroma": float("inf")}, "chroma inf"),
        ({"low_hz": 0.0}, "band from 0 to 3 Hz: choose 0 < low < high"),
        ({"low_hz": 4.0}, "band from 4 to 3 Hz"),
        ({"high_hz": float("nan")}, "band from 0.5 to nan Hz"),
    ],
)
def test_wrong_settings_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(MOTION, **change)  # type: ignore[arg-type]


def write_video(path: Path, frames: int, size: tuple[int, int] = (120, 160), rate: Any = RATE_FPS) -> Path:
    """Soft drifting blots as Motion JPEG, which supports any size."""
    noise = np.random.default_rng(4).integers(0, 256, (5, 5, 3)).astype(np.uint8)
    noise = cv2.resize(noise, (size[1] + frames, size[0]), interpolation=cv2.INTER_CUBIC)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=rate)
        stream.pix_fmt = "yuvj444p"
        stream.height, stream.width = size
        for number in range(frames):
            picture = np.ascontiguousarray(noise[:, number : number + size[1]])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def call(*arguments: object) -> Result:
        return CliRunner().invoke(magnify, [str(each) for each in arguments])

    return call


@pytest.mark.parametrize(
    ("size", "rate"), [((120, 160), RATE_FPS), ((121, 163), Fraction(30000, 1001)), ((90, 77), 12), ((33, 17), 25)]
)
def test_size_rate_and_frames_are_kept(run: Run, tmp_path: Path, size: tuple[int, int], rate: Any) -> None:
    source = write_video(tmp_path / "clip.avi", 15, size, rate)
    done = run(source, "--out", tmp_path / "made" / "big.mp4", "--alpha", 0)
    assert done.exit_code == 0, done.output
    made = tmp_path / "made" / "big.mp4"
    assert [each.name for each in made.parent.iterdir()] == ["big.mp4"]
    assert (announced_frames(made), frame_rate(made)) == (15, rate)
    with av.open(str(made)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
    before, after = list(picture_frames(source)), list(picture_frames(made))
    assert after[0].shape == (*size, 3)
    errors = [np.abs(a.astype(int) - b).mean() for a, b in zip(after, before, strict=True)]
    assert max(errors) < 8  # with alpha 0 only the codec's loss remains


def test_a_phones_turned_video_comes_out_upright(run: Run, tmp_path: Path) -> None:
    stored = np.zeros((48, 96, 3), np.uint8)
    stored[:24, :48] = 220
    with av.open(str(tmp_path / "phone.mp4"), "w") as container:
        stream: Any = container.add_stream("libx264", rate=30)
        stream.height, stream.width = 48, 96
        stream.set_display_rotation(90)
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        container.mux(stream.encode())
    assert run(tmp_path / "phone.mp4", "--out", tmp_path / "out.mp4").exit_code == 0
    seen, made = next(picture_frames(tmp_path / "phone.mp4")), next(picture_frames(tmp_path / "out.mp4"))
    assert made.shape == seen.shape == (96, 48, 3)
    assert np.abs(made.astype(int) - seen).mean() < 4
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert next(container.decode(video=0)).side_data.get("DISPLAYMATRIX") is None


def test_a_picture_that_changes_its_size_is_refused() -> None:
    magnifier = Magnifier(MOTION, RATE_FPS)
    magnifier(np.zeros((40, 64, 3), np.uint8))
    with pytest.raises(ValueError, match="64x40 .*40x64"):
        magnifier(np.zeros((64, 40, 3), np.uint8))


def test_no_frames_no_file(tmp_path: Path) -> None:
    assert write_mp4(tmp_path / "a.mp4", [], Fraction(25)) == 0
    assert list(tmp_path.iterdir()) == []


def test_several_videos_go_into_a_folder_and_a_strip(run: Run, tmp_path: Path) -> None:
    videos = [write_video(tmp_path / f"{name}.avi", count) for name, count in (("live", 40), ("a$b_", 20))]
    (tmp_path / RECORD).write_text("{}")
    done = run(*videos, "--out", tmp_path / "out", "--strip", tmp_path / "strips" / "strip.png", "--column-px", 3)
    assert done.exit_code == 0, done.output
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["a$b__magnified.mp4", "live_magnified.mp4"]
    assert re.search(r"a\$b_.avi: 0.67 s .* 0.5 Hz \(2.00 s\)", done.stderr)
    picture = np.asarray(Image.open(tmp_path / "strips" / "strip.png").convert("RGB"))
    assert picture.std() > 20
    assert len({tuple(colour) for colour in picture.reshape(-1, 3)[::50]}) > 200


def test_strip_rows_hold_frames_and_slices() -> None:
    row = Row("clip", 30.0, announced=12, frames=4, column_px=2)
    pairs = [(np.full((6, 8, 3), n, np.uint8), np.full((6, 8, 3), 100 + n, np.uint8)) for n in range(12)]
    assert [int(each[0, 0, 0]) for each in row.watched(pairs)] == list(range(100, 112))
    assert [(index, int(before[0, 0, 0]), int(after[0, 0, 0])) for index, before, after in row.shown] == [
        (1, 1, 101),
        (4, 4, 104),
        (7, 7, 107),
        (10, 10, 110),
    ]
    before, after = row.slices()
    assert before.shape == after.shape == (6, 12, 3)
    assert after[0, :, 0].tolist() == list(range(100, 112))


@pytest.mark.parametrize("announced", [0, 1, 2, 100])
def test_strip_of_a_short_or_wrongly_announced_video_shows_a_frame(announced: int) -> None:
    row = Row("clip", 30.0, announced)
    pairs = [(np.zeros((6, 8, 3), np.uint8),) * 2 for _ in range(3)]
    assert len(list(row.watched(pairs))) == 3
    assert row.shown


def test_the_face_alone(run: Run, portrait: Picture, face_models: Path, tmp_path: Path) -> None:
    frames = [cv2.warpAffine(portrait, np.array([[1.0, 0, n], [0, 1, 0]]), (640, 480)) for n in range(4)]
    write_mp4(tmp_path / "face.mp4", [np.asarray(f, np.uint8) for f in frames], Fraction(30))
    write_video(tmp_path / "none.avi", 4)
    done = run(
        tmp_path / "face.mp4", tmp_path / "none.avi", "--face", "--out", tmp_path / "out", "--face-models", face_models
    )
    assert done.exit_code == 1
    assert "none.avi: no face in its first frame" in done.stderr
    assert "1 of 2 videos" in done.stderr
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["face_magnified.mp4"]
    height, width, _ = next(picture_frames(tmp_path / "out" / "face_magnified.mp4")).shape
    assert height == width
    assert 120 < height < 260
    missing = run(tmp_path / "face.mp4", "--face", "--out", tmp_path / "out", "--face-models", tmp_path)
    assert missing.exit_code == 1
    assert "`eulernet face-models" in missing.output


def test_bad_videos_are_named_and_the_rest_goes_on(run: Run, tmp_path: Path) -> None:
    good = write_video(tmp_path / "good.avi", 5)
    one = write_video(tmp_path / "one.avi", 1)
    (tmp_path / "garbage.mp4").write_bytes(b"\x00\x01garbage" * 500)
    (tmp_path / "notes.txt").write_text("no video\n")
    done = run(
        tmp_path / "garbage.mp4", one, good, tmp_path / "gone.mp4", tmp_path / "notes.txt", "--out", tmp_path / "out"
    )
    assert done.exit_code == 1
    for name in ("garbage.mp4", "one.avi", "gone.mp4", "notes.txt"):
        assert f"{name}: " in done.stderr
    assert "4 of 5 videos" in done.stderr
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["good_magnified.mp4"]
    with pytest.raises(NotAVideoError, match="garbage.mp4"):
        list(picture_frames(tmp_path / "garbage.mp4"))


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "nothing to write"),
        (["--out", "{}/clip.avi"], 2, "clip.avi: "),
        (["--strip", "{}/strip.xyz"], 2, ".png, .svg"),
        (["--out", "{}", "--label", "a", "--label", "b"], 2, "--label: 2 for 1 videos"),
        (["--out", "{}", "--high-hz", "20"], 1, "15 Hz"),
        (["--out", "{}", "--low-hz", "4"], 1, "band from 4 to 3 Hz"),
        (["--out", "{}/clip.avi/x"], 1, "clip.avi"),
        (["--strip", "{}/strip.png", "--column-px", "160"], 1, "column 160"),
    ],
)
def test_wrong_use(run: Run, tmp_path: Path, arguments: list[str], status: int, message: str) -> None:
    source = write_video(tmp_path / "clip.avi", 5)
    done = run(source, *(each.format(tmp_path) for each in arguments))
    assert done.exit_code == status, done.output
    assert message in done.output


def test_nothing_is_written_over_a_source(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "clip.mp4"
    write_mp4(source, [np.zeros((16, 16, 3), np.uint8)] * 3, Fraction(30))
    before = source.read_bytes()
    assert "clip.mp4" in run(source, "--out", source).output
    assert "2 videos" in run(source, source, "--out", tmp_path / "a.mp4").output
    assert "2 videos" in run(source, source, "--out", tmp_path).output
    assert source.read_bytes() == before
