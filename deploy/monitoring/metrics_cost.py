# SPDX-License-Identifier: Apache-2.0
"""What the metrics cost: processor time of the calls for a frame, as a share of the processor time of a whole frame.

    python -m deploy.monitoring.metrics_cost

Both are measured on this machine, one after the other, so that only their ratio counts.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import psutil
import tritonclient.grpc as triton

from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.jpeg import encode_jpeg
from eulernet_core.tensors import CLIP_ENCODED, CLIP_MODEL
from eulernet_core.video import read_spaced_frames, upright
from eulernet_serving.cpu_repository import assemble
from eulernet_serving.embedded_server import EmbeddedServer, Ports

FRAMES = 20_000  # counted in one call of the model
CONFIG = """
name: "metrics_cost"
backend: "python"
max_batch_size: 0
input [ { name: "FRAMES" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "SECONDS" data_type: TYPE_FP64 dims: [ 1 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
# Counts frames as the last stage does, then shows them as its thread does.
MODEL = """
import time
import numpy as np
import triton_python_backend_utils as pb_utils
from eulernet_serving.stages.frame_metrics import FrameMetrics, LivenessMetrics, is_counted
from eulernet_serving.stages.stage_metrics import StageMetrics


class TritonPythonModel:
    def initialize(self, args):
        self.metrics = StageMetrics(1.0)
        self.frames = FrameMetrics(self.metrics, "antispoof")
        self.liveness = LivenessMetrics(self.metrics, "antispoof")

    def execute(self, requests):
        (request,) = requests
        frames = int(pb_utils.get_input_tensor_by_name(request, "FRAMES").as_numpy()[0])
        begun_s = time.thread_time()
        for _ in range(frames):
            is_counted(request)
            self.frames.add((64,))
            self.liveness.add(0.5)
        seconds = np.array([time.thread_time() - begun_s])
        self.metrics.flush()
        return [pb_utils.InferenceResponse([pb_utils.Tensor("SECONDS", seconds)])]
"""


def processor_s(server: EmbeddedServer) -> float:
    """Processor time of the server and its stages so far."""
    assert server.pid is not None
    root, total = psutil.Process(server.pid), 0.0
    for each in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            times = each.cpu_times()
            total += times.user + times.system
    return total


@contextlib.contextmanager
def running(repository: Path, folder: Path) -> Iterator[tuple[EmbeddedServer, triton.InferenceServerClient]]:
    """The server and a client of it, once every model of the repository is ready."""
    with EmbeddedServer(repository, Ports(0, 0), folder / "server.log") as server:
        client = triton.InferenceServerClient(server.url)
        models = [path.name for path in repository.iterdir()]
        ready = False
        while not ready:
            server.check_running()
            time.sleep(0.5)
            with contextlib.suppress(triton.InferenceServerException):
                ready = all(client.is_model_ready(model) for model in models)
        yield server, client
        server.kill()


def calls_us(folder: Path) -> tuple[float, float]:
    """Microseconds of processor time a frame: in the answering thread, and in all processes together."""
    model = folder / "cost" / "metrics_cost"
    (model / "1").mkdir(parents=True)
    (model / "configs").mkdir()
    (model / "configs" / "cpu.pbtxt").write_text(CONFIG)
    (model / "config.pbtxt").write_text(CONFIG)
    (model / "1" / "model.py").write_text(MODEL)
    with running(model.parent, folder) as (server, client):
        frames = triton.InferInput("FRAMES", [1], "INT32")
        frames.set_data_from_numpy(np.array([FRAMES], np.int32))
        client.infer(model.name, [frames])  # the first one warms up
        before_s = processor_s(server)
        seconds = client.infer(model.name, [frames]).as_numpy("SECONDS").item()
        return 1e6 * seconds / FRAMES, 1e6 * (processor_s(server) - before_s) / FRAMES


def frame_us(folder: Path, video: Path, clips: int) -> float:
    """Microseconds of the server's processor time a frame of a clip."""
    jpegs = [encode_jpeg(picture) for picture in read_spaced_frames(video, upright)][:CLIP_FRAMES]
    with running(assemble(folder / "repository"), folder) as (server, client):
        inputs = []
        for name, jpeg in zip(CLIP_ENCODED, jpegs, strict=True):
            inputs.append(triton.InferInput(name, [1, len(jpeg)], "UINT8"))
            inputs[-1].set_data_from_numpy(np.frombuffer(jpeg, np.uint8)[None])
        client.infer(CLIP_MODEL, inputs)
        before_s = processor_s(server)
        for _ in range(clips):
            client.infer(CLIP_MODEL, inputs)
        return 1e6 * (processor_s(server) - before_s) / (clips * CLIP_FRAMES)


@click.command()
@click.option("--video", type=click.Path(exists=True, path_type=Path), default="out/demo/clips/bona_fide.mp4")
@click.option("--clips", default=50, help="Clips to send.")
def main(video: Path, clips: int) -> None:
    """Compare the calls for a frame with the whole frame."""
    with tempfile.TemporaryDirectory(prefix="eulernet-cost-") as name:
        answering, everywhere = calls_us(Path(name))
        whole = frame_us(Path(name), video, clips)
    click.echo(f"counting a frame: {answering / whole:.3%} of a frame's processor time in the answering thread")
    click.echo(f"counting and showing it: {everywhere / whole:.2%} in all processes")


if __name__ == "__main__":
    main()
