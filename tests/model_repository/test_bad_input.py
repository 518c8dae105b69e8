# SPDX-License-Identifier: Apache-2.0
"""Bad input to the real server: the sender's answer, and no effect on anybody else."""

import io
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image
from tritonclient.utils import InferenceServerException

from tests.crafted_jpegs import SAME, TURNED, variants

pytestmark = pytest.mark.triton

OK, SEVERAL_FACES, RELOCATED, NO_FACE, UNDECODABLE, TOO_LARGE, REPEATED = 0, 1, 2, 4, 8, 16, 128
FP32 = 1e-5


@pytest.fixture(scope="module")
def frames(moving_faces):
    return moving_faces(8, seed=11)


@pytest.fixture(scope="module")
def faceless(encode):
    from skimage.data import coffee

    return encode(coffee())


def with_size(jpeg: bytes, height: int, width: int) -> bytes:
    """The same bytes with another size in the frame header (SOF0)."""
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + jpeg[at + 4 :]


def with_broken_tables(jpeg: bytes) -> bytes:
    """A JPEG whose Huffman tables make no sense."""
    at = jpeg.index(b"\xff\xc4")
    return jpeg[: at + 6] + b"\xff" * 14 + jpeg[at + 20 :]


def with_missing_tables(jpeg: bytes) -> bytes:
    """A JPEG whose header is sound and whose scan names Huffman tables that are not there: only decoding finds out."""
    at = jpeg.index(b"\xff\xda") + 5
    end = at + 2 * jpeg[at - 1]
    return jpeg[:at] + bytes(0x33 if k % 2 else each for k, each in enumerate(jpeg[at:end])) + jpeg[end:]


def garbage(jpeg: bytes) -> dict[str, tuple[bytes, int]]:
    """Kinds of bad frame, with the STATUS that each must get."""
    return {
        "no bytes": (b"", UNDECODABLE),
        "one byte": (b"\x00", UNDECODABLE),
        "text": (b"GET / HTTP/1.1\r\n\r\n", UNDECODABLE),
        "signature only": (b"\xff\xd8\xff", UNDECODABLE),
        "truncated header": (jpeg[:200], UNDECODABLE),
        "truncated scan": (jpeg[: len(jpeg) // 2], UNDECODABLE),
        "png": (b"\x89PNG\r\n\x1a\n" + bytes(100), UNDECODABLE),
        "65535 x 65535": (with_size(jpeg, 65535, 65535), TOO_LARGE),
        "30000 x 30000": (with_size(jpeg, 30000, 30000), TOO_LARGE),
        "0 x 0": (with_size(jpeg, 0, 0), UNDECODABLE),
        "broken tables": (with_broken_tables(jpeg), UNDECODABLE),
        "missing tables": (with_missing_tables(jpeg), UNDECODABLE),
        "random": (np.random.default_rng(0).bytes(5000), UNDECODABLE),
    }


KINDS = tuple(garbage(b"\xff\xd8\xff" + b"\xff\xc0" + bytes(20) + b"\xff\xc4" + bytes(40) + b"\xff\xda" + bytes(9)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("position", [0, 2, 4])
def test_bad_frame_is_reported_and_leaves_the_filter_as_it_was(raw, frames, kind, position):
    bad, status = garbage(frames[0])[kind]
    good = frames[:4]
    answers = raw.sequence([*good[:position], bad, *good[position:]])
    assert answers[position].status[0] & ~SEVERAL_FACES == status
    assert answers[position].liveness[0] == 0
    assert not answers[position].location_map.any()
    assert answers[position].count[0] == position
    del answers[position]
    expected = raw.sequence(good)
    assert [int(each.status[0]) for each in answers] == [OK] * 4
    np.testing.assert_allclose(
        [each.liveness[0] for each in answers], [each.liveness[0] for each in expected], atol=FP32
    )


@pytest.mark.parametrize("kind", KINDS)
def test_bad_frame_in_a_clip(raw, frames, kind):
    bad, status = garbage(frames[0])[kind]
    answer = raw.clip([frames[0], bad, frames[1], frames[2]])
    assert answer.status.tolist() == [OK, status, OK, OK]
    assert answer.count.tolist() == [1, 1, 2, 3]
    expected = raw.sequence(frames[:3])
    np.testing.assert_allclose(answer.liveness[[0, 2, 3]], [each.liveness[0] for each in expected], atol=FP32)


def test_no_face_anywhere(raw, faceless):
    answer = raw.clip([faceless] * 4)
    assert answer.status.tolist() == [NO_FACE] * 4
    assert not answer.liveness.any()
    assert not answer.box.any()
    assert answer.count.tolist() == [0] * 4


def test_face_comes_late(raw, frames, faceless):
    answers = raw.sequence([faceless, faceless, *frames[:4]])
    assert [int(each.status[0]) for each in answers] == [NO_FACE, NO_FACE, OK, OK, OK, OK]
    assert answers[-1].count[0] == 4


def test_face_lost_in_the_middle_of_a_stream(raw, moving_faces, faceless):
    """The held box is checked every 10 frames: a stream whose face has gone gets NO_FACE from there on, and scores
    again with a fresh filter when the face is back."""
    seen = moving_faces(10, seed=12)
    size_of = cv2.imdecode(np.frombuffer(seen[0], np.uint8), cv2.IMREAD_COLOR).shape
    empty = cv2.imencode(".jpg", np.full(size_of, 90, np.uint8))[1].tobytes()
    answers = raw.sequence([*seen, empty, empty, *seen[:4]])
    statuses = [int(each.status[0]) for each in answers]
    assert statuses == [OK] * 10 + [NO_FACE] * 2 + [RELOCATED] + [OK] * 3
    assert [int(each.count[0]) for each in answers[-4:]] == [1, 2, 3, 4]
    expected = raw.sequence(seen[:4])
    np.testing.assert_allclose(
        [each.liveness[0] for each in answers[-4:]], [each.liveness[0] for each in expected], atol=FP32
    )


def test_two_faces_are_flagged_and_one_is_scored(raw, portrait, encode):
    head = portrait[0:256, 96:352]
    answer = raw.clip([encode(np.hstack([head, head[:, ::-1]]))] * 4)
    assert answer.status.tolist() == [SEVERAL_FACES] + [SEVERAL_FACES | REPEATED] * 3
    assert answer.count.tolist() == [1, 2, 3, 4]
    assert (answer.liveness > 0).all()


@pytest.mark.parametrize(("orientation", "turn"), [(3, 2), (6, 1), (8, 3)])
def test_exif_rotated_picture_is_turned_upright(raw, portrait, encode, orientation, turn):
    """The stored picture lies on its side, the header says so: same box, nearly the same pixels, same answer."""
    picture = np.ascontiguousarray(portrait[:384])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = io.BytesIO()
    Image.fromarray(np.rot90(picture, turn)).save(stored, "JPEG", quality=95, subsampling=0, exif=exif)
    upright, turned = raw.clip([encode(picture, 95)] * 4), raw.clip([stored.getvalue()] * 4)
    assert turned.status.tolist() == [OK] + [REPEATED] * 3
    np.testing.assert_allclose(turned.box, upright.box, atol=4)
    np.testing.assert_allclose(turned.liveness, upright.liveness, atol=0.02)


def test_picture_changes_its_size_in_mid_stream(raw, portrait, encode):
    small = encode(cv2.resize(portrait, (256, 256)))
    answers = raw.sequence([encode(portrait), encode(portrait), small, small])
    assert [int(each.status[0]) for each in answers] == [OK, REPEATED, RELOCATED, REPEATED]
    assert [int(each.count[0]) for each in answers] == [1, 2, 1, 2]


def test_stream_that_never_sends_start(raw, frames):
    with pytest.raises(InferenceServerException, match=r"sequence 77.* must specify the START flag"):
        raw.frame(frames[0], 77)
    assert raw.sequence(frames[:4])[-1].count[0] == 4


def test_reused_id_starts_over(raw, frames):
    raw.frame(frames[0], 78, start=True)
    raw.frame(frames[1], 78)
    again = raw.sequence(frames[:4], 78)
    expected = raw.sequence(frames[:4])
    assert [int(each.count[0]) for each in again] == [1, 2, 3, 4]
    np.testing.assert_allclose([e.liveness[0] for e in again], [e.liveness[0] for e in expected], atol=FP32)


def test_batch_of_two_frames_in_one_request_is_refused(raw, frames):
    from tritonclient.grpc import InferInput

    tensor = InferInput("ENCODED", [2, 100], "UINT8")
    tensor.set_data_from_numpy(np.zeros((2, 100), np.uint8))
    with pytest.raises(InferenceServerException, match="batch-size must be <= 1"):
        raw.client.infer("antispoof", [tensor], sequence_id=79, sequence_start=True, sequence_end=True)


def test_open_streams_keep_their_places_and_a_further_one_is_refused(tight, frames):
    """16 streams stop sending. A 17th is refused at once, harms none of them, and gets in once they are idle."""
    begun_s = time.monotonic()
    for k in range(16):
        tight.frame(frames[0], 5000 + k, start=True)
    with pytest.raises(InferenceServerException, match="16 streams are open") as refused:
        tight.frame(frames[0], 5016, start=True)
    assert refused.value.status() == "StatusCode.UNAVAILABLE"
    assert time.monotonic() - begun_s < 4
    assert all(tight.frame(frames[1], 5000 + k).count[0] == 2 for k in range(16))
    wait_until(lambda: tight.open_sequences() == {"face_crop": 16, "eulernet": 16})
    # Nobody calls meanwhile: the metric falls by itself.
    wait_until(lambda: tight.open_sequences() == {"face_crop": 0, "eulernet": 0}, timeout_s=9)
    assert tight.sequence(frames[:4])[-1].count[0] == 4
    with pytest.raises(InferenceServerException, match="START flag|start it again"):
        tight.frame(frames[1], 5000)


def test_streams_of_garbage_take_no_place(tight, frames):
    """Ten times as many as there are places, opened with one byte each and left."""
    for k in range(160):
        tight.frame(b"\0", 6000 + k, start=True)
    begun_s = time.monotonic()
    assert tight.sequence(frames[:4])[-1].count[0] == 4
    assert time.monotonic() - begun_s < 4
    # One of them has a face at last.
    assert tight.frame(frames[0], 6159).count[0] == 1
    tight.frame(frames[1], 6159, end=True)
    wait_until(lambda: tight.open_sequences() == {"face_crop": 0, "eulernet": 0}, timeout_s=5)


def test_a_caller_has_its_own_limit(tight, frames):
    """The fixture allows a caller 4 streams."""
    for k in range(4):
        tight.frame(frames[0], 7000 + k, start=True, caller="greedy")
    with pytest.raises(InferenceServerException, match="4 streams are open, the most of one caller"):
        tight.frame(frames[0], 7004, start=True, caller="greedy")
    assert tight.frame(frames[0], 7005, start=True, end=True, caller="modest").count[0] == 1
    assert tight.frame(frames[0], 7006, start=True, end=True).count[0] == 1
    for k in range(4):
        tight.frame(frames[1], 7000 + k, end=True)
    assert tight.frame(frames[0], 7007, start=True, end=True, caller="greedy").count[0] == 1


def wait_until(happened, timeout_s=5.0):
    """Raises unless it happens in time."""
    deadline_s = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline_s
        time.sleep(0.2)


def test_filter_restarts_although_the_relocated_frame_has_no_crop(raw):
    """The first stage keeps RELOCATED beside UNDECODABLE (tests/serving/test_stage_parts.py); no picture is known that
    only the crop can't decode, so the network's model is called by itself."""
    faces = np.random.default_rng(5).integers(0, 256, (5, 1, 256, 256, 3), np.uint8)

    def scores(rows, flags):
        answers = [
            raw.network(face, status, 88, start=k == 0, end=k == len(rows) - 1)
            for k, (face, status) in enumerate(zip(faces[rows], flags, strict=True))
        ]
        return [float(each.as_numpy("LIVENESS")[0, 0]) for each in answers], [
            int(each.as_numpy("FRAME_COUNT")[0, 0]) for each in answers
        ]

    liveness, counts = scores([0, 1, 2, 3, 4], [OK, OK, RELOCATED | UNDECODABLE, OK, OK])
    assert counts == [1, 2, 0, 1, 2]
    alone, _ = scores([3, 4], [OK, OK])
    np.testing.assert_allclose(liveness[3:], alone, atol=FP32)


@pytest.mark.parametrize("name", variants(b"\xff\xd8" + b"\xff\xc0" + bytes(20)))
def test_crafted_pictures(raw, encode, portrait, name):
    plain = encode(portrait)
    data, right = variants(plain)[name]
    answer = raw.clip([plain, data, plain, data])
    if right == SAME:
        expected = raw.clip([plain] * 4)
        np.testing.assert_array_equal(answer.liveness, expected.liveness)
        np.testing.assert_array_equal(answer.box, expected.box)
        assert (answer.status & ~REPEATED).tolist() == (expected.status & ~REPEATED).tolist()
    elif right == TURNED:
        turned = encode(np.rot90(portrait))
        for_itself = raw.clip([variants(turned)[name][0]] * 4)
        assert for_itself.count.tolist() == [1, 2, 3, 4]
        np.testing.assert_allclose(for_itself.box, raw.clip([plain] * 4).box, atol=4)
    else:
        refused = TOO_LARGE if right == "too large" else UNDECODABLE
        assert answer.status.tolist() == [OK, refused, REPEATED, refused]
        assert answer.count.tolist() == [1, 1, 2, 2]


def test_sixteen_sequences_half_of_them_garbage(tight, moving_faces):
    """8 good streams beside 8 that send garbage in every position, START and END included, all pipelined."""
    good = {8000 + k: moving_faces(8, seed=20 + k) for k in range(8)}
    kinds = [bad for bad, _ in garbage(good[8000][0]).values()]
    bad = {9000 + k: [kinds[(k + t) % len(kinds)] for t in range(8)] for k in range(7)}
    # One more mixes good frames in, so that its state must survive the bad ones.
    mixed = moving_faces(8, seed=30)
    bad[9007] = [kinds[t] if t % 2 else mixed[t] for t in range(8)]
    alone = {key: tight.sequence(frames) for key, frames in good.items()}
    together = tight.pipelined({**good, **bad})
    for key, answers in alone.items():
        assert [int(each.status[0]) for each in together[key]] == [OK] * 8
        np.testing.assert_allclose(
            [each.liveness[0] for each in together[key]], [each.liveness[0] for each in answers], atol=FP32
        )
    for key in range(9000, 9007):
        assert all(each.status[0] in (UNDECODABLE, TOO_LARGE) for each in together[key])
    assert [int(each.count[0]) for each in together[9007]] == [1, 1, 2, 2, 3, 3, 4, 4]
    wait_until(lambda: tight.open_sequences() == {"face_crop": 0, "eulernet": 0})
    # No slot is left behind: as many sequences as there are slots go through at once, well before any idle timeout.
    started_s = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        ends = list(pool.map(lambda k: tight.sequence(good[8000 + k % 8])[-1], range(16)))
    assert all(each.count[0] == 8 for each in ends)
    assert time.monotonic() - started_s < 60
