# SPDX-License-Identifier: Apache-2.0
"""Two replicas and a gateway on this machine; one is killed under load: `python -m deploy.gateway.cluster_demo`.

The gateway is HAProxy with the chart's configuration, the replicas are real servers. No Kubernetes is involved: this
program does what it would do there, and starts the killed replica again.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import psutil
from rich.console import Console
from rich.table import Table

from deploy.gateway.demo_load import DemoLoad, Phase, percentile_ms, video_frames
from deploy.gateway.haproxy_process import Door, Gateway, GatewayError
from deploy.gateway.local_cluster import REPLICAS, LocalCluster, free_ports
from deploy.tools import ToolError
from eulernet_client import Client
from eulernet_core.errors import EulerNetError
from eulernet_serving.child_launcher import launched
from eulernet_serving.embedded_server import HOST

READY_S = 180.0
BEFORE, KILLED, BACK = "two replicas", "one killed", "two again"
COUNTED = ("clips answered", "clips failed", "frames answered", "frames failed", "streams ended", "replay")
LOST = ("clips failed", "clips different", "frames failed", "frames different", "stream_lost", "started_anew")


class Replica:
    """`eulernet serve` and its door, as a pod has them.

    Args:
        cluster: gives it an address.
        number: of the replica, from 0.
        folder: for its log.
    """

    def __init__(self, cluster: LocalCluster, number: int, folder: Path) -> None:
        self.number, self._ports = number, free_ports(3)
        self.url = f"{HOST}:{self._ports[0]}"
        self._log = folder / f"replica-{number}-{time.monotonic_ns()}.log"
        options = zip(("--grpc-port", "--metrics-port", "--health-port"), map(str, self._ports), strict=True)
        command = [sys.executable, "-m", "eulernet_core", "serve", *(each for pair in options for each in pair)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                launched(command, private=False), cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.door: Door = cluster.door(number, *self._ports)

    def wait_ready(self) -> None:
        """Raises: GatewayError with the end of the log."""
        deadline_s = time.monotonic() + READY_S
        while "ready after" not in self._log.read_text(errors="replace"):
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                raise GatewayError(
                    f"replica {self.number} is not ready: {self._log.read_text(errors='replace')[-2000:]}"
                )
            time.sleep(0.1)

    def kill(self) -> int:
        """SIGKILL to the supervisor, Triton, its stages and the door, as when a node is lost. Returns: how many."""
        processes = [self.process, *psutil.Process(self.process.pid).children(recursive=True), self.door.process]
        for each in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        self.process.wait()
        self.door.process.wait()
        for each in Path("/dev/shm").glob("eulernet_*"):  # in a pod it goes with the pod
            if each.name.split("_")[1] == str(self.process.pid):
                each.unlink(missing_ok=True)
        return len(processes)

    def stop(self) -> None:
        """Ends it in order."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()


@click.command()
@click.argument("videos", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--streams", default=4, show_default=True, help="Streams at once, 10 frames/s each.")
@click.option("--callers", default=2, show_default=True, help="Callers of clips, without a pause.")
@click.option("--seconds", default=10.0, show_default=True, help="Length of each of the three phases.")
@click.option("--retry/--no-retry", default=True, show_default=True, help="Whether the client sends again and replays.")
def cluster_demo(videos: tuple[Path, ...], streams: int, callers: int, seconds: float, retry: bool) -> None:
    """Serve VIDEOS' frames from two replicas behind the chart's gateway, kill one under load, and count.

    Exit status 1: a call failed, a stream was lost, or a score differed.
    """
    console, folder = Console(), Path(tempfile.mkdtemp(prefix="eulernet-cluster-"))
    try:
        frames = [video_frames(each) for each in videos]
        phases = demonstrate(console, folder, Wanted(frames, streams, callers, seconds, retry))
    except (GatewayError, ToolError, EulerNetError) as error:
        raise click.ClickException(str(error)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    console.print(table(phases))
    lost = sum(phase.counts[each] for phase in phases for each in LOST)
    if lost:
        console.print(f"[red]{lost} answers lost or different")
        raise SystemExit(1)
    console.print("[green]Nothing was lost: every call was answered, and every score is the one of a server alone.")


@dataclass(frozen=True)
class Wanted:
    """The load: frames of videos, streams and callers at once, length of each phase, and whether the client retries."""

    videos: list[list[bytes]]
    streams: int
    callers: int
    seconds: float
    retry: bool


def demonstrate(console: Console, folder: Path, wanted: Wanted) -> list[Phase]:
    """Runs the three phases. Raises: GatewayError, ToolError, EulerNetError."""
    with LocalCluster(folder) as cluster, contextlib.ExitStack() as stack:
        replicas = [_started(stack, cluster, number, folder) for number in range(2)]
        for each in replicas:
            each.wait_ready()
        cluster.list(0, 1)
        gateway = cluster.gateway(replicas=2)
        load_text = f"{wanted.callers} callers, {wanted.streams} streams"
        console.print(f"gateway {gateway.url}, replicas {REPLICAS[0]} and {REPLICAS[1]}, {load_text}")
        with (
            Client(gateway.url, timeout_s=60, retry=wanted.retry) as client,
            DemoLoad(client, wanted.videos, replicas[0].url, streams=wanted.streams, callers=wanted.callers) as load,
        ):
            _phase(load, BEFORE, wanted.seconds)
            console.print(f"answered by each replica: {answered(gateway)}")
            load.begin(KILLED)
            console.print(f"replica 1 is killed: SIGKILL to {replicas[1].kill()} processes")
            time.sleep(wanted.seconds)
            fresh = _started(stack, cluster, 1, folder)
            fresh.wait_ready()
            gateway.wait_ready(replicas=2)
            console.print("replica 1 is back")
            _phase(load, BACK, wanted.seconds)
            console.print(f"answered by each replica: {answered(gateway)}")
        return load.phases[1:]


def _started(stack: contextlib.ExitStack, cluster: LocalCluster, number: int, folder: Path) -> Replica:
    replica = Replica(cluster, number, folder)
    stack.callback(replica.stop)
    return replica


def _phase(load: DemoLoad, name: str, seconds: float) -> None:
    load.begin(name)
    time.sleep(seconds)


def answered(gateway: Gateway) -> str:
    """Requests that each replica has answered through the gateway."""
    name, labels = "haproxy_server_http_responses_total", {"proxy": "replicas", "code": "2xx"}
    counts = [gateway.metric(name, server=f"replica{number}", **labels) for number in (1, 2)]
    return ", ".join(f"{count:.0f}" for count in counts)


def table(phases: Sequence[Phase]) -> Table:
    """A column a phase."""
    shown = Table("", *(phase.name for phase in phases))
    for each in (*COUNTED, *(name for name in LOST if name not in COUNTED)):
        shown.add_row(each.replace("_", " "), *(str(phase.counts[each]) for phase in phases))
    for percent in (50, 99):
        shown.add_row(f"clip p{percent}, ms", *(f"{percentile_ms(phase.clip_s, percent):.0f}" for phase in phases))
        shown.add_row(f"frame p{percent}, ms", *(f"{percentile_ms(phase.frame_s, percent):.0f}" for phase in phases))
    for column in shown.columns[1:]:
        column.justify = "right"
    return shown


if __name__ == "__main__":
    cluster_demo()
