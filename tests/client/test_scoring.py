# SPDX-License-Identifier: Apache-2.0
"""The client and its commands on the real server: videos, folders, streams, and the errors of bad ones."""

import asyncio
import inspect
import io
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tritonclient.grpc import InferenceServerClient

from eulernet_client import AsyncClient, Client
from eulernet_client.errors import (
    NoFaceError,
    NotAVideoError,
    SequenceError,
    ServerUnavailableError,
    TooFewFramesError,
    TooLargeError,
    UndecodableError,
)
from eulernet_core.status import Status
from eulernet_serving.embedded_server import HOST

pytestmark = pytest.mark.triton

EULERNET = [sys.executable, "-m", "eulernet_client"]


@pytest.fixture(scope="module")
def client(server):
    with Client(server.url) as client:
        yield client


@pytest.fixture(scope="module")
def face_picture(portrait):
    """`face_picture(n)`: frame n of a drifting face, uint8 (384, 512, 3)."""

    def picture(number):
        move = np.array([[1, 0, 0.7 * number], [0, 1, 0.4 * number]], np.float32)
        return cv2.warpAffine(portrait, move, (512, 384), borderMode=cv2.BORDER_REPLICATE)

    return picture


def run(*arguments, url=""):
    environment = {**os.environ, "EULERNET_URL": url, "COLUMNS": "80"}
    return subprocess.run([*EULERNET, *arguments], env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.avi", "mjpeg"), ("a.mov", "libx264"), ("a.webm", "libvpx")]
)
def test_videos_of_every_kind(client, make, tmp_path, face_picture, name, codec, weights_label):
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    video = make.video(tmp_path / name, 24, codec, pix_fmt=pix_fmt, picture=face_picture)
    result = client.score(video)
    assert [frame.index for frame in result.frames] == [7, 10, 13, 16]
    assert [frame.frame_count for frame in result.frames] == [1, 2, 3, 4]
    assert all(frame.status & ~(Status.SMALL_FACE | Status.DEGRADED) == Status.OK for frame in result.frames)
    assert result.liveness == result.frames[-1].liveness
    assert 0 < result.liveness < 1
    assert result.weights == weights_label
    x0, y0, x1, y1 = result.frames[0].box
    assert 0 <= x0 < 225 < x1 <= 512
    assert 0 <= y0 < 115 < y1 <= 384


def test_folder_scores_as_its_frames_by_hand(client, tmp_path, face_picture, encode):
    frames = [encode(face_picture(number)) for number in range(10)]
    for number, frame in enumerate(frames):
        (tmp_path / f"frame{number}.jpg").write_bytes(frame)
    folder, by_hand = client.score(tmp_path), client.score_frames(frames[::3])
    assert folder.liveness == pytest.approx(by_hand.liveness, abs=1e-5)


def test_stream_and_clip_give_the_same_scores(client, face_picture, encode):
    frames = [encode(face_picture(3 * number)) for number in range(4)]
    clip = client.score_frames(frames)
    with client.stream() as stream:
        live = [stream.score(frame) for frame in frames]
    assert [frame.frame_count for frame in live] == [1, 2, 3, 4]
    assert [frame.liveness for frame in live] == pytest.approx([frame.liveness for frame in clip.frames], abs=1e-4)


async def test_asyncio_scores_many_at_once(server, client, make, tmp_path, face_picture, encode):
    videos = [make.video(tmp_path / f"{k}.mp4", 12 + k, picture=face_picture) for k in range(6)]
    async with AsyncClient(server.url) as other:
        together = await asyncio.gather(*(other.score(video) for video in videos))
        async with other.stream("a camera") as stream:
            live = [await stream.score(encode(face_picture(3 * number))) for number in range(4)]
    for video, result in zip(videos, together, strict=True):
        assert result.liveness == pytest.approx(client.score(video).liveness, abs=1e-5)
    assert live[-1].frame_count == 4


def test_one_client_serves_several_threads(client, face_picture, encode):
    clips = [[encode(face_picture(3 * number + shift)) for number in range(4)] for shift in range(6)]
    alone = [client.score_frames(clip).liveness for clip in clips]
    with ThreadPoolExecutor(6) as threads:
        together = [result.liveness for result in threads.map(client.score_frames, clips)]
    assert together == pytest.approx(alone, abs=1e-5)


def test_phone_video_stored_sideways(client, make, tmp_path, face_picture):
    upright = client.score(make.video(tmp_path / "upright.mp4", 10, picture=face_picture))
    stored = make.video(
        tmp_path / "stored.mp4",
        10,
        rotation=90,
        picture=lambda number: np.ascontiguousarray(np.rot90(face_picture(number), -1)),
    )
    turned = client.score(stored)
    np.testing.assert_allclose(turned.frames[0].box, upright.frames[0].box, atol=6)
    assert turned.liveness == pytest.approx(upright.liveness, abs=0.1)


def test_video_of_five_frames(client, make, tmp_path, face_picture):
    with pytest.raises(TooFewFramesError, match="short.mp4: 5 frames.* 10 "):
        client.score(make.video(tmp_path / "short.mp4", 5, picture=face_picture))


def test_video_without_a_face(client, make, tmp_path):
    with pytest.raises(NoFaceError, match="empty.mp4: frame 0: .*15 %"):
        client.score(make.video(tmp_path / "empty.mp4", 10))


def test_not_a_video(client, tmp_path):
    (tmp_path / "notes.mp4").write_text("not a video\n" * 100)
    with pytest.raises(NotAVideoError, match="notes.mp4"):
        client.score(tmp_path / "notes.mp4")


def test_bad_sources_are_named_and_the_good_one_beside_them_is_scored(server, make, tmp_path, face_picture):
    make.video(tmp_path / "good.mp4", 12, picture=face_picture)
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "good.mp4").read_bytes()[:3000])
    (tmp_path / "zero.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    (tmp_path / "empty").mkdir()
    names = ["gone.mp4", "text.mp4", "zero.mp4", "cut.mp4", "empty", "good.mp4"]
    done = run("score", "--json", *(str(tmp_path / name) for name in names), url=server.url)
    assert done.returncode == 1
    *bad, good = json.loads(done.stdout)["clips"]
    expected = ["MissingFileError", "NotAVideoError", "NotAVideoError", "TruncatedVideoError", "EmptyFolderError"]
    assert [clip["error"]["type"] for clip in bad] == expected
    assert all(clip["error"]["message"].startswith(clip["path"] + ": ") for clip in bad)
    assert good["frames"][-1]["frame_count"] == 4


def test_a_server_on_this_machine_is_reached_without_the_proxy(server, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://{HOST}:9")
    assert run("status", url=server.url).returncode == 0


@pytest.mark.parametrize("kind", ["text", "truncated", "huge"])
def test_bad_jpeg_in_a_folder_names_file_and_frame(client, tmp_path, face_picture, encode, kind):
    good = encode(face_picture(0))
    at = good.index(b"\xff\xc0") + 5
    bad, error = {
        "text": (b"hello", UndecodableError),
        "truncated": (good[:3000], UndecodableError),
        "huge": (good[:at] + b"\xff\xff\xff\xff" + good[at + 4 :], TooLargeError),
    }[kind]
    for number in range(10):
        (tmp_path / f"{number}.jpg").write_bytes(bad if number == 6 else good)
    with pytest.raises(error, match=r"frame 6 \(6.jpg\)"):
        client.score(tmp_path)


def test_two_faces_are_scored_with_a_warning(client, portrait, encode):
    head = portrait[0:256, 96:352]
    result = client.score_frames([encode(np.hstack([head, head[:, ::-1]]))] * 4)
    assert any("several faces in 4 of 4 frames" in warning for warning in result.warnings)


def test_exif_rotated_folder(client, portrait, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = io.BytesIO()
    Image.fromarray(np.rot90(portrait)).save(stored, "JPEG", exif=exif, quality=95)
    for number in range(10):
        (tmp_path / f"{number}.jpeg").write_bytes(stored.getvalue())
    x0, y0, x1, y1 = client.score(tmp_path).frames[-1].box
    assert x0 < 225 < x1
    assert y0 < 115 < y1


def test_stream_continues_after_a_bad_frame_and_frees_its_slot(client, server, face_picture, encode):
    frame = encode(face_picture(0))
    with client.stream() as stream:
        answers = [stream.score(each) for each in (frame, b"", frame, b"junk", frame, frame)]
    assert [each.frame_count for each in answers] == [1, 1, 2, 2, 3, 4]
    assert [each.status.usable for each in answers] == [True, False, True, False, True, True]
    with pytest.raises(UndecodableError, match="frame 1"):
        answers[1].raise_for_status()
    with pytest.raises(SequenceError):
        stream.score(frame)


async def test_both_clients_report_the_same_health(server, client, weights_label):
    async with AsyncClient(server.url) as other:
        for health in (client.check(), await other.check()):
            assert (health.url, health.models) == (server.url, ("antispoof", "antispoof_clip"))
            assert (health.server_version, health.weights) == ("2.51.0", weights_label)
            assert re.fullmatch(r"[0-9a-f]{16} (fp32|bf16|int8-[0-9a-f]{8})", health.identity)
            assert min(health.clip_s, health.stream_s) > 0
        assert await other.ready("antispoof")


@pytest.mark.parametrize("kind", [Client, AsyncClient])
async def test_without_retry_a_clip_is_one_request(server, face_picture, encode, weights_label, kind):
    frames = [encode(face_picture(3 * number)) for number in range(4)]
    client = kind(server.url, retry=False)

    async def finished(result):
        return await result if inspect.isawaitable(result) else result

    before = answered(server)
    assert (await finished(client.score_frames(frames))).weights == "unknown"
    for _ in range(50):
        if answered(server) > before:
            break
        await asyncio.sleep(0.1)  # Triton counts a call after it has sent the answer
    assert answered(server) == before + 1
    with pytest.raises(UndecodableError):
        await finished(client.score_frames([b"", *frames[1:]]))
    assert await finished(client.weights()) == weights_label
    assert (await finished(client.score_frames(frames))).weights == weights_label
    await finished(client.close())


def answered(server):
    """Clip calls that the server has answered."""
    with InferenceServerClient(server.url) as channel:
        return channel.get_inference_statistics("antispoof_clip").model_stats[0].inference_stats.success.count


def test_no_server(face_picture, encode):
    with Client(f"{HOST}:1", timeout_s=1) as client, pytest.raises(ServerUnavailableError, match=f"{HOST}:1"):
        client.score_frames([encode(face_picture(0))] * 4)


def test_score_command_prints_a_table_and_writes_a_report(server, make, tmp_path, face_picture, weights_label):
    make.video(tmp_path / "good.mp4", 12, picture=face_picture)
    make.video(tmp_path / "short.mp4", 5, picture=face_picture)
    done = run("score", str(tmp_path), "--report", str(tmp_path / "report.html"), url=server.url)
    assert done.returncode == 1
    assert done.stdout.startswith(f"weights: {weights_label}\n")
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "not scored" in done.stdout
    assert "needs at least 10" in " ".join(done.stdout.split())
    page = (tmp_path / "report.html").read_text()
    assert f"weights: {weights_label}" in page
    assert page.count("data:image/") >= 8
    assert "short.mp4" in page


def test_score_command_prints_json_alone(server, make, tmp_path, face_picture, weights_label):
    make.video(tmp_path / "good.mp4", 12, picture=face_picture)
    done = run("score", str(tmp_path / "good.mp4"), "--json", url=server.url)
    assert done.returncode == 0
    data = json.loads(done.stdout)
    assert data["weights"] == weights_label
    (clip,) = data["clips"]
    assert clip["verdict"] in ("live", "attack")
    assert [frame["frame_count"] for frame in clip["frames"]] == [1, 2, 3, 4]


def test_several_clips_of_one_video(client, make, tmp_path, face_picture):
    result = client.score(make.video(tmp_path / "long.mp4", 40, picture=face_picture), clips=3)
    assert [frame.clip for frame in result.frames] == [0] * 4 + [1] * 4 + [2] * 4
    lasts = [frame.liveness for frame in result.frames[3::4]]
    assert result.liveness == pytest.approx(sum(lasts) / 3)


def test_verdicts_of_the_demo_clips(client, demo_clips):
    """Clips of people outside the training set: the shipped weights must classify all four correctly."""
    verdicts = {path.stem: client.score(path) for path in sorted(demo_clips.iterdir())}
    assert {name: result.live for name, result in verdicts.items()} == {
        "bona_fide": True,
        "print": False,
        "replay": False,
        "moved_still": False,
    }
    assert all("simulated" in result.weights for result in verdicts.values())


def test_status_command(server, weights_label):
    well = run("status", url=server.url)
    assert re.search(r"weights  .* \([0-9a-f]{16} (fp32|bf16|int8-[0-9a-f]{8})\)\n", well.stdout)
    assert well.returncode == 0
    assert "Triton 2.51.0" in well.stdout
    assert weights_label in well.stdout
    ill = run("status", url=f"{HOST}:1")
    assert ill.returncode == 1
    assert "not healthy" in ill.stderr


def test_serve_runs_score_beside_it(repository, make, tmp_path, face_picture):
    """One command that starts the server, scores, and stops it."""
    make.video(tmp_path / "good.mp4", 12, picture=face_picture)
    eulernet = shutil.which("eulernet", path=Path(sys.executable).parent)
    ports = ["--grpc-port=0", "--metrics-port=0", "--health-port=0"]
    command = [eulernet, "serve", "--repository", str(repository), *ports, "--", eulernet, "score", "good.mp4"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "good.mp4" in done.stdout
