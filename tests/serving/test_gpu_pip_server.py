# SPDX-License-Identifier: Apache-2.0
"""The real Triton with the configuration of `eulernet serve --gpu`; without a GPU the CPU takes its place."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from eulernet_core.status import Status
from eulernet_serving.embedded_server import EmbeddedServer, Ports
from eulernet_serving.gpu_pip_repository import GpuParts, assemble_gpu_pip
from eulernet_serving.gpu_presence import CPU, CUDA, DEVICE_VARIABLE
from eulernet_serving.process_watch import ProcessWatch
from eulernet_serving.serve_command import chosen_at_start
from tests.conftest import FACE_MODELS, ROOT
from tests.model_repository.conftest import Raw
from tests.model_repository.test_bad_input import garbage

pytestmark = pytest.mark.triton

ON_GPU = torch.cuda.is_available()
DEVICE = CUDA if ON_GPU else CPU
READY_TIMEOUT_S = 300.0  # every stage imports torch
INSTANCES = {"eulernet": 2, "eulernet_clip": 1, "face_locate": 2, "clip_locate": 1}
# Crops by DALI and by OpenCV differ by a grey level or two, and so do the scores.
LIVENESS, MAPS, MEAN_OF_MAPS = 0.03, 0.15, 0.01
Frames = Callable[[int, int], list[bytes]]


@pytest.fixture(scope="module")
def gpu_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two instances of both stages with state, so that frames could overtake each other."""
    out = tmp_path_factory.mktemp("gpu_pip") / "repository"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DEVICE_VARIABLE, DEVICE)
        made = ROOT / "out" if ON_GPU else out
        parts = GpuParts((made / "engines", made / "engines_rtx"), made / "plugins")
        assemble_gpu_pip(out, parts, face_models=FACE_MODELS)
    for model, count in INSTANCES.items():
        path = out / model / "configs" / "gpu_pip.pbtxt"
        text, found = re.subn(r"count: \d+", f"count: {count}", path.read_text())
        assert found == 1
        path.write_text(text)
    return out


@pytest.fixture(scope="module")
def gpu_server(gpu_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    log = tmp_path_factory.mktemp("gpu_pip_server") / "server.log"
    environment = {DEVICE_VARIABLE: DEVICE, "OMP_NUM_THREADS": "1"}
    with EmbeddedServer(gpu_repository, Ports(0, 0), log, environment=environment) as running:
        running.wait_ready(READY_TIMEOUT_S)
        yield running
        running.check_running()
        running.kill()


@pytest.fixture(scope="module")
def gpu(gpu_server: EmbeddedServer) -> Raw:
    return Raw(gpu_server)


def test_every_stage_says_what_it_chose(gpu_server: EmbeddedServer) -> None:
    lines = chosen_at_start(gpu_server.log)
    networks = [line for line in lines if "network by" in line]
    stages = Counter(line.partition("_0_")[0] for line in networks)
    assert stages == {"face_detector": 1, "eulernet": 2, "eulernet_clip": 1}
    for line in networks:
        assert float(re.search(r"(\S+) from the golden case", line)[1]) <= 1e-4  # type: ignore[index]
    assert sum("crop by DALI" in line for line in lines) == 3


def test_the_supervisor_sees_every_stage(gpu_server: EmbeddedServer) -> None:
    assert gpu_server.pid is not None
    stages = Counter(ProcessWatch(gpu_server.pid).find_stages())
    assert stages == {**INSTANCES, "face_detector": 1}


def test_answers_are_those_of_the_cpu_configuration(gpu: Raw, server: EmbeddedServer, moving_faces: Frames) -> None:
    cpu = Raw(server)
    for seed in range(3):
        frames = moving_faces(4, seed)
        one, other = gpu.clip(frames), cpu.clip(frames)
        np.testing.assert_array_equal(one.status, other.status)
        np.testing.assert_array_equal(one.count, other.count)
        np.testing.assert_allclose(one.box, other.box, atol=0.01)
        np.testing.assert_allclose(one.liveness, other.liveness, atol=LIVENESS)
        difference = np.abs(one.location_map - other.location_map)
        assert (difference.max() <= MAPS) & (difference.mean() <= MEAN_OF_MAPS)


def test_clips_equal_streams(gpu: Raw, moving_faces: Frames) -> None:
    frames = moving_faces(4, 5)
    clip, stream = gpu.clip(frames), gpu.sequence(frames)
    assert clip.count.tolist() == [1, 2, 3, 4] == [int(each.count[0]) for each in stream]
    np.testing.assert_allclose(clip.liveness, [each.liveness[0] for each in stream], atol=1e-4)
    np.testing.assert_allclose(clip.location_map, [each.location_map for each in stream], atol=1e-4)


def time_by_process(gpu: Raw, model: str) -> dict[int, float]:
    """Processor time of each instance of a model so far, s."""
    found = {}
    for process in psutil.Process(gpu.server.pid).children():
        if any(f"/{model}/1/" in part for part in process.cmdline()):
            times = process.cpu_times()
            found[process.pid] = times.user + times.system
    assert len(found) == INSTANCES[model]
    return found


def test_streams_stay_in_order_and_keep_their_state_with_garbage_among_them(gpu: Raw, moving_faces: Frames) -> None:
    """Sixteen pipelined streams over two instances; every fourth stream has a bad frame of each kind."""
    good = {next(gpu.ids): moving_faces(5, seed) for seed in range(16)}
    kinds = list(garbage(moving_faces(1, 0)[0]).values())
    bad = list(good)[::4]
    sent = {}
    for key, frames in good.items():
        sent[key] = list(frames)
        if key in bad:
            for k, (broken, _) in enumerate(kinds):
                sent[key].insert(1 + k % 4, broken)
    spent_s = time_by_process(gpu, "eulernet")
    together = gpu.pipelined(sent)
    # Every instance had some of the streams.
    assert all(after_s - spent_s[pid] > 0.1 for pid, after_s in time_by_process(gpu, "eulernet").items())
    for number, (key, frames) in enumerate(good.items()):
        usable = [each for each in together[key] if Status(int(each.status[0])).usable]
        assert [int(each.count[0]) for each in usable] == [1, 2, 3, 4, 5]
        assert len(together[key]) - len(usable) == (len(kinds) if key in bad else 0)
        if number % 4 < 2:  # a stream with bad frames, and one beside it
            alone = gpu.sequence(frames)
            # A batch that a bad frame broke was cropped the CPU's way.
            np.testing.assert_allclose(
                [each.liveness[0] for each in usable], [each.liveness[0] for each in alone], atol=LIVENESS
            )


@pytest.mark.parametrize("kind", ["missing tables", "truncated scan", "65535 x 65535", "no bytes"])
def test_a_bad_frame_is_reported_and_leaves_the_filter_as_it_was(gpu: Raw, moving_faces: Frames, kind: str) -> None:
    frames = moving_faces(4, 7)
    broken, status = garbage(frames[0])[kind]
    answers = gpu.sequence([frames[0], broken, *frames[1:]])
    assert answers[1].status[0] == status
    assert answers[1].liveness[0] == 0
    assert [int(each.count[0]) for each in answers] == [1, 1, 2, 3, 4]
    expected = [each.liveness[0] for each in gpu.sequence(frames)]
    np.testing.assert_allclose([answers[t].liveness[0] for t in (0, 2, 3, 4)], expected, atol=LIVENESS)


def test_a_bad_frame_of_a_clip_harms_no_other_clip(gpu: Raw, moving_faces: Frames) -> None:
    frames = moving_faces(4, 8)
    broken, status = garbage(frames[0])["missing tables"]
    answer = gpu.clip([*frames[:2], broken, frames[3]])
    assert answer.status.tolist() == [0, 0, status, 0]
    assert gpu.clip(frames).status.tolist() == [0, 0, 0, 0]


def test_ended_streams_leave_no_state(gpu: Raw, moving_faces: Frames) -> None:
    gpu.sequence(moving_faces(3, 9))
    key = next(gpu.ids)
    gpu.frame(moving_faces(1, 9)[0], key, start=True)
    gpu.frame(moving_faces(1, 9)[0], key, end=True)
    with pytest.raises(Exception, match="START"):
        gpu.frame(moving_faces(1, 9)[0], key)
