# SPDX-License-Identifier: Apache-2.0
"""The two ensembles on the real server: same answers, order, batches."""

import shutil
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from eulernet.network import LONGEST_SEQUENCE
from eulernet_serving.embedded_server import EmbeddedServer, Ports
from tests.conftest import READY_TIMEOUT_S
from tests.model_repository.conftest import Raw

pytestmark = pytest.mark.triton

FP32 = 1e-5


def test_clip_call_answers_as_a_sequence_of_four(raw, moving_faces):
    frames = moving_faces(4, seed=1)
    clip, sequence = raw.clip(frames), raw.sequence(frames)
    assert clip.status.tolist() == [0, 0, 0, 0]
    assert clip.count.tolist() == [1, 2, 3, 4] == [int(each.count[0]) for each in sequence]
    np.testing.assert_allclose(clip.liveness, [each.liveness[0] for each in sequence], atol=1e-4)
    np.testing.assert_allclose(clip.location_map, [each.location_map for each in sequence], atol=1e-4)
    np.testing.assert_array_equal(clip.box, [each.box for each in sequence])


def test_answers_depend_on_the_frames_before(raw, moving_faces):
    frames = moving_faces(4, seed=2)
    moving, still = raw.sequence(frames)[-1], raw.sequence([frames[-1]] * 4)[-1]
    assert abs(float(moving.liveness[0]) - float(still.liveness[0])) > 1e-4
    assert np.isfinite(moving.location_map).all()
    assert moving.location_map.std() > 1e-3


def test_box_surrounds_the_face(raw, moving_faces):
    x0, y0, x1, y1 = raw.clip(moving_faces(4, seed=3)).box[0]
    # The astronaut's eyes lie near (205, 115) and (245, 115) in the photograph, that is near x = 280 once widened.
    assert x0 < 256 < 306 < x1
    assert y0 < 100 < 130 < y1
    assert x1 - x0 == y1 - y0
    assert 160 < x1 - x0 < 320


def test_pipelined_frames_stay_in_order(raw, moving_faces):
    sequences = {next(raw.ids): moving_faces(24, seed) for seed in range(6)}
    alone = {key: raw.sequence(frames) for key, frames in sequences.items()}
    together = raw.pipelined(sequences)
    for key, answers in together.items():
        assert [int(each.count[0]) for each in answers] == [t % LONGEST_SEQUENCE + 1 for t in range(24)]
        np.testing.assert_allclose(
            [each.liveness[0] for each in answers], [each.liveness[0] for each in alone[key]], atol=FP32
        )


@pytest.fixture(scope="module")
def doubled(repository, tmp_path_factory):
    """A server with two instances of the stage before the network, so that frames could overtake each other."""
    folder = tmp_path_factory.mktemp("doubled")
    copy = shutil.copytree(repository, folder / "model_repository")
    path = copy / "face_crop" / "configs" / "cpu.pbtxt"
    assert "count: 1" in path.read_text()
    path.write_text(path.read_text().replace("count: 1", "count: 2"))
    with EmbeddedServer(copy, Ports(0, 0), folder / "server.log") as running:
        running.wait_ready(READY_TIMEOUT_S)
        yield Raw(running)
        running.kill()


def test_pipelined_frames_stay_in_order_with_several_instances(doubled, moving_faces):
    """A sequence keeps to one instance, which has one of its frames at a time."""
    assert doubled.client.get_model_config("face_crop").config.instance_group[0].count == 2
    small = moving_faces(1, seed=9) * 3
    frames = [b"" if t % 3 == 1 else small[t % 3] for t in range(60)]  # a bad frame takes no time in this stage
    together = doubled.pipelined({next(doubled.ids): frames for _ in range(3)})
    scored = [sum(k % 3 != 1 for k in range(t + 1)) for t in range(60)]
    for answers in together.values():
        assert [int(each.count[0]) for each in answers] == [(n - 1) % LONGEST_SEQUENCE + 1 for n in scored]


def test_frames_of_several_sequences_share_a_batch(raw, moving_faces):
    before = Counter(raw.batch_sizes("eulernet"))
    raw.pipelined({next(raw.ids): moving_faces(16, seed) for seed in range(8)})
    given_up = time.monotonic() + 10
    while True:  # Triton counts a batch after its answers
        new = Counter(raw.batch_sizes("eulernet")) - before
        if sum(size * count for size, count in new.items()) == 8 * 16:
            break
        assert time.monotonic() < given_up, dict(new)
        time.sleep(0.05)
    assert max(new) >= 4, f"batches: {dict(new)}"


def test_clips_at_once_answer_as_alone(raw, moving_faces):
    clips = [moving_faces(4, seed) for seed in range(12)]
    alone = [raw.clip(clip) for clip in clips]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(raw.clip, clips))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one.liveness, other.liveness, atol=FP32)


@pytest.mark.parametrize("sequence_id", ["a", "camera-7/entrance", "x" * 127, 2**63 - 1])
def test_any_correlation_id(raw, moving_faces, sequence_id):
    answers = raw.sequence(moving_faces(4, seed=4), sequence_id)
    assert [int(each.count[0]) for each in answers] == [1, 2, 3, 4]


def test_weights_label_is_in_the_configuration(raw, weights_label):
    for model in ("antispoof", "antispoof_clip"):
        assert raw.client.get_model_config(model).config.parameters["weights"].string_value == weights_label


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.get_model_repository_index(),
        lambda client: client.load_model("eulernet"),
        lambda client: client.unload_model("eulernet"),
        lambda client: client.get_system_shared_memory_status(),
        lambda client: client.register_system_shared_memory("region", "/region", 64),
        lambda client: client.update_log_settings({"log_verbose_level": 1}),
        lambda client: client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]}),
    ],
)
def test_dangerous_apis_are_closed(raw, call):
    with pytest.raises(InferenceServerException, match="restricted"):
        call(raw.client)
