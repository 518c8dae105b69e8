# SPDX-License-Identifier: Apache-2.0
"""`eulernet serve --one-stage` on the real server: what the ensembles answer, with the same bounds."""

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from eulernet.network import LONGEST_SEQUENCE
from eulernet_core.limits import MAX_STREAMS
from eulernet_core.tensors import CLIP_MODEL, STREAM_MODEL
from eulernet_serving.core_shares import cores, one_stage_instances
from eulernet_serving.cpu_repository import PLACES_PER_CORE, assemble_cpu
from eulernet_serving.embedded_server import EmbeddedServer, Ports
from eulernet_serving.repository_manifest import CPU_ONE_STAGE, faults, read_manifest
from eulernet_serving.served_repository import read_served
from eulernet_serving.supervisor import stages_of
from eulernet_serving.triton_config import read_config
from tests.conftest import FACE_MODELS, READY_TIMEOUT_S, TIGHT_IDLE_S, tightened
from tests.crafted_jpegs import variants
from tests.model_repository.conftest import Answer, Raw
from tests.serving.served_process import Serving

pytestmark = pytest.mark.triton

FP32 = 1e-5
MODELS = (STREAM_MODEL, CLIP_MODEL)
INSTANCES = one_stage_instances()
SLOTS_AN_INSTANCE = 8


@pytest.fixture(scope="module")
def one_stage_repository(tmp_path_factory):
    out = tmp_path_factory.mktemp("one_stage") / "model_repository"
    assemble_cpu(out, FACE_MODELS, "fp32", CPU_ONE_STAGE)
    return out


@pytest.fixture(scope="module")
def one(one_stage_repository, tmp_path_factory):
    """Calls the server with one stage, which has eight slots for streams in each instance."""
    folder = tmp_path_factory.mktemp("one_stage_server")
    slots = SLOTS_AN_INSTANCE * INSTANCES
    copy = tightened(one_stage_repository, folder / "model_repository", slots, TIGHT_IDLE_S)
    with EmbeddedServer(copy, Ports(0, 0), folder / "server.log") as running:
        running.wait_ready(READY_TIMEOUT_S)
        yield Raw(running)
        running.check_running()
        running.kill()


def assert_same(found: Answer, expected: Answer) -> None:
    assert found.status.tolist() == expected.status.tolist()
    assert found.quality.tolist() == expected.quality.tolist()
    assert found.count.tolist() == expected.count.tolist()
    np.testing.assert_array_equal(found.box, expected.box)
    np.testing.assert_allclose(found.liveness, expected.liveness, atol=FP32)
    np.testing.assert_allclose(found.location_map, expected.location_map, atol=FP32)


def test_the_repository_has_two_models_and_is_whole(one_stage_repository):
    assert sorted(path.name for path in one_stage_repository.iterdir() if path.is_dir()) == sorted(MODELS)
    manifest = read_manifest(one_stage_repository)
    assert faults(one_stage_repository, manifest) == []
    assert sorted(manifest.graphs) == sorted(MODELS)
    served = read_served(one_stage_repository)
    assert (served.embedded, served.options) == (True, ("--model-config-name=cpu_one_stage",))
    assert [list(stages_of(one_stage_repository, model)) for model in MODELS] == [[model] for model in MODELS]
    counts = [read_config(served.config(model)).instance_group[0].count for model in MODELS]
    assert counts == [INSTANCES] * 2


def test_clips_and_streams_answer_as_the_ensembles_do(raw, one, moving_faces):
    clips = [moving_faces(4, seed) for seed in range(6)]
    with ThreadPoolExecutor(len(clips)) as pool:
        together = list(pool.map(one.clip, clips))
    for clip, found in zip(clips, together, strict=True):
        assert_same(found, raw.clip(clip))
    frames = moving_faces(12, seed=7)
    for found, expected in zip(one.sequence(frames), raw.sequence(frames), strict=True):
        assert_same(found, expected)


def test_label_and_identity_are_those_of_the_ensembles(raw, one, weights_label):
    for model in MODELS:
        found, expected = (each.client.get_model_config(model).config.parameters for each in (one, raw))
        assert found["weights"].string_value == weights_label
        assert found["identity"].string_value == expected["identity"].string_value != ""


def test_bad_frames_get_the_ensembles_answers_and_harm_nobody(raw, one, moving_faces):
    plain = moving_faces(1, seed=1)[0]
    kinds = {name: data for name, (data, _) in variants(plain).items()} | {"no bytes": b"", "text": b"GET / HTTP/1.1"}
    for name, data in kinds.items():
        found, expected = (each.clip([plain, data, plain, data]) for each in (one, raw))
        assert found.status.tolist() == expected.status.tolist(), name
        assert_same(found, expected)
    frames = moving_faces(4, seed=2)
    mixed = [frames[0], b"text", frames[1], b"", frames[2], frames[3]]
    for found, expected in zip(one.sequence(mixed), raw.sequence(mixed), strict=True):
        assert_same(found, expected)


def test_pipelined_frames_stay_in_order(one, moving_faces):
    sequences = {next(one.ids): moving_faces(24, seed) for seed in range(6)}
    alone = {key: one.sequence(frames) for key, frames in sequences.items()}
    for key, answers in one.pipelined(sequences).items():
        assert [int(each.count[0]) for each in answers] == [t % LONGEST_SEQUENCE + 1 for t in range(24)]
        for found, expected in zip(answers, alone[key], strict=True):
            np.testing.assert_allclose(found.liveness, expected.liveness, atol=FP32)


def test_the_instances_share_the_bounds_of_the_streams(one, moving_faces):
    frames = moving_faces(2, seed=3)
    slots = SLOTS_AN_INSTANCE * INSTANCES
    for k in range(slots):
        one.frame(frames[0], 5000 + k, start=True)
    with pytest.raises(InferenceServerException, match=f"{SLOTS_AN_INSTANCE} streams are open") as refused:
        one.frame(frames[0], 5000 + slots, start=True)
    assert refused.value.status() == "StatusCode.UNAVAILABLE"
    assert all(one.frame(frames[1], 5000 + k, end=True).count[0] == 2 for k in range(slots))
    with pytest.raises(InferenceServerException, match="START flag|start it again"):
        one.frame(frames[1], 5000)
    assert one.frame(frames[0], 5000 + slots, start=True, end=True).count[0] == 1


def test_a_killed_instance_is_replaced(one_stage_repository, tmp_path):
    serving = Serving("--repository", str(one_stage_repository), cwd=tmp_path)
    try:
        serving.wait_ready()
        os.kill(serving.pid_of(CLIP_MODEL), signal.SIGKILL)
        _, found = serving.wait_line(r"(\w+) \(process \d+\) died", 20)
        assert found[1] == CLIP_MODEL
        serving.wait_line("serving again", 120)
        status, _, _ = serving.stop()
        assert status == 0
        assert serving.leftovers() == set()
    finally:
        serving.process.kill()


HANGS = """
import threading
from eulernet_serving.stages.clip_pipeline import ClipPipeline

class TritonPythonModel(ClipPipeline):
    def answer(self, requests):
        if any(each.request_id() == "hang" for each in requests):
            threading.Event().wait()
        return super().answer(requests)
"""


@pytest.mark.slow
@pytest.mark.skipif(INSTANCES < 2, reason="one core has one instance, and its hang is seen by the probes")
def test_one_instance_that_hangs_is_a_stall_although_the_others_answer(one_stage_repository, tmp_path, moving_faces):
    """A model of the test's own hangs on demand in one of its instances."""
    copy = tightened(one_stage_repository, tmp_path / "repository", 16, TIGHT_IDLE_S)
    (copy / CLIP_MODEL / "1" / "one_stage.py").write_text(HANGS)
    serving = Serving("--repository", str(copy), "--stall-timeout-s", "45", cwd=tmp_path)
    try:
        serving.wait_ready()
        raw = Raw(serving)
        clip = moving_faces(4, seed=1)
        with pytest.raises(InferenceServerException, match="Deadline"):
            raw.clip(clip, request_id="hang", timeout_s=2)
        for _ in range(8):
            assert raw.clip(clip).count.tolist() == [1, 2, 3, 4]
        _, found = serving.wait_line(r"restart 1 of at most .*: (.*)", 80)
        assert found[1] == "stalled"
        serving.wait_line("serving again", 120)
        assert re.search(r"^eulernet_ready 1", serving.get("/metrics")[1], re.MULTILINE)
        serving.stop()
    finally:
        serving.process.kill()


def test_the_instances_share_triton_s_places_for_sequences(one_stage_repository):
    """Triton takes memory for each of them in every instance."""
    config = read_config(one_stage_repository / STREAM_MODEL / "configs" / "cpu_one_stage.pbtxt")
    places = config.sequence_batching.oldest.max_candidate_sequences
    wanted = min(64 * MAX_STREAMS, PLACES_PER_CORE * cores())
    assert places * INSTANCES >= wanted > (places - 1) * INSTANCES
