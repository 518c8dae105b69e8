# SPDX-License-Identifier: Apache-2.0
"""Checks the CPU image for real: `python -m deploy.image.image_check`, as root, on Debian 12 or newer.

Lints the Containerfile, builds it on a bootstrapped base, runs it read-only and without capabilities, scores a clip
through it, drains it, and runs the pod of the chart's CPU values.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from deploy.image.build_image import CA_BUNDLE, HERE, PIP_CONF, ROOT, BuildError, build
from deploy.image.local_images import make_debian, make_door
from deploy.image.pod_manifest import POD, VOLUMES, playable, rendered_chart
from deploy.image.podman_containers import PodmanError, podman, podman_environment
from deploy.tools import ToolError
from eulernet_serving.face_models.wheel_files import FetchError

IMAGE = "localhost/eulernet:0-check-cpu"
NEEDED = ("podman", "buildah", "runc", "mmdebstrap", "catatonit")
USER = "10001:10001"
READY_S = 180.0
CLIP, LIVENESS, TOLERANCE = "bona_fide", 0.98, 0.02  # of the demo's clip, as tests/packaging expects it
SHARED_MEMORY_MIB = 512
DOOR_URL = "localhost:9001"


class CheckError(AssertionError):
    """The image or the pod is not as it must be."""


def missing() -> str:
    """Why this machine can't run the check; empty if it can."""
    absent = [name for name in NEEDED if shutil.which(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed: apt-get install {' '.join(absent)}"
    return "" if os.geteuid() == 0 else "it needs root: rootless containers can't be built on a bootstrapped base"


def expect(fact: bool, text: str) -> None:
    """Raises: CheckError with the text unless the fact holds."""
    if not fact:
        raise CheckError(text)
    click.echo(f"  {text}")


def check_lint() -> None:
    """hadolint finds nothing in the Containerfile."""
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    expect(program is not None, "hadolint is installed")
    command = [str(program), "--config", str(HERE / "hadolint.yaml"), str(HERE / "Containerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    expect(done.returncode == 0, f"hadolint finds nothing {done.stdout}".strip())


def check_build() -> None:
    """The image is built, for the right user, with its bill of materials, and without the build's secrets."""
    ca_bundle = os.environ.get("PIP_CERT")
    build("cpu", IMAGE, make_debian(), ca_bundle=Path(ca_bundle) if ca_bundle else None)
    (image,) = json.loads(podman("image", "inspect", IMAGE))
    expect(image["Config"]["User"] == USER, f"the image's user is {USER}")
    expect(image["Config"]["Entrypoint"][:2] == ["eulernet", "serve"], "its process 1 is the supervisor")
    bill = json.loads(podman("run", "--rm", "--network=none", "--entrypoint=cat", IMAGE, "/opt/eulernet/sbom.cdx.json"))
    names = {each["name"] for each in bill["components"]}
    expect({"nvidia-pytriton", "numpy", "libc6"} <= names, f"its bill of materials lists {len(names)} packages")
    leftovers = ["-name", PIP_CONF, "-o", "-name", CA_BUNDLE, "-o", "-path", "/build"]
    left = podman("run", "--rm", "--network=none", "--user=0", "--entrypoint=find", IMAGE, "/", "-xdev", *leftovers)
    expect(not left, f"no secret of the build is in it {left}".strip())


@contextmanager
def running(clips: Path) -> Iterator[str]:
    """The name of a container of the image: read-only, without capabilities, without a network."""
    name = f"eulernet-check-{os.getpid()}"
    confined = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none"]
    space = [f"--shm-size={SHARED_MEMORY_MIB}m", "--tmpfs=/tmp:rw,mode=1777,size=256m", f"--volume={clips}:/clips:ro"]
    podman("run", "--detach", f"--name={name}", *confined, *space, IMAGE)
    try:
        yield name
    finally:
        podman("rm", "--force", "--time=5", name)


def score(container: str, url: str, video: str) -> float:
    """Liveness of a video as the client inside the container gets it from a real server."""
    podman("exec", container, "eulernet", "status", "--url", url, "--wait-s", str(READY_S))
    answer = json.loads(podman("exec", container, "eulernet", "score", video, "--url", url, "--json"))
    (clip,) = answer["clips"]
    return float(clip["liveness"])


def check_container(clips: Path) -> None:
    """A clip is scored, and a stop lets an open stream end."""
    with running(clips) as name:
        expect(podman("exec", name, "id", "-u").strip() == USER.split(":")[0], "it runs as the image's user")
        liveness = score(name, "localhost:8001", f"/clips/{CLIP}.mp4")
        expect(abs(liveness - LIVENESS) < TOLERANCE, f"it scores the clip {CLIP}: {liveness:.3f}")
        refused = podman("exec", name, "sh", "-c", "touch /opt/eulernet/x 2>&1; grep CapEff /proc/1/status")
        expect("Read-only file system" in refused, "its file system is read-only")
        expect("CapEff:\t0000000000000000" in refused, "its process 1 has no capabilities")
        stop_during_stream(name)


def stop_during_stream(container: str) -> None:
    """Stops the container while a stream is open. Raises: CheckError."""
    command = ["podman", "exec", "--interactive", container, "python", "-", f"/clips/{CLIP}.mp4", "localhost:8001"]
    with (HERE / "stream_through_drain.py").open() as script:
        caller = subprocess.Popen(
            command, env=podman_environment(), stdin=script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    assert caller.stdout is not None
    first = caller.stdout.readline()
    expect(first == "open\n", f"a stream is {first.strip()}")
    podman("stop", "--time=60", container)
    output = caller.stdout.read().strip()
    drained = caller.wait(10) == 0 and len(set(json.loads(output).values())) == 1  # as many scored as sent
    expect(drained, f"the stop drains it: {output}")
    status = podman("inspect", "--format={{.State.ExitCode}}", container).strip()
    expect(status == "0", f"exit status {status}")


def check_pod(clips: Path) -> None:
    """The pod of the chart's CPU values scores a clip through its door, and ends well."""
    text = playable(rendered_chart("values-cpu.yaml", IMAGE, make_door()))
    podman("play", "kube", "--network=none", "-", text=text)
    server = f"{POD}-server"
    try:
        podman("cp", clips / f"{CLIP}.mp4", f"{server}:/tmp/{CLIP}.mp4")
        liveness = score(server, DOOR_URL, f"/tmp/{CLIP}.mp4")
        expect(abs(liveness - LIVENESS) < TOLERANCE, f"the pod scores the clip through its door: {liveness:.3f}")
        for page in ("9003/livez", "9003/readyz", "9003/metrics", "9002/metrics"):
            podman("exec", server, "python", "-c", f"import urllib.request as u; u.urlopen('http://127.0.0.1:{page}')")
        expect(True, "its door answers with health and metrics")
        lines = podman("logs", f"{POD}-log")
        expect("Started GRPCInferenceService" in lines, "its container log prints the server's log")
        podman("stop", "--time=100", server)
        status = podman("inspect", "--format={{.State.ExitCode}}", server).strip()
        expect(status == "0", f"its server stops with exit status {status}")
    finally:
        podman("play", "kube", "--down", "-", text=text)
        podman("volume", "rm", "--force", *VOLUMES)


def demo_clips() -> Path:
    """The folder of the demo's clips, made if they are missing."""
    folder = ROOT / "out" / "demo" / "clips"
    if not (folder / f"{CLIP}.mp4").is_file():
        subprocess.run([sys.executable, "-m", "eulernet_core", "demo-clips", "--out", folder], check=True)
    return folder


@click.command()
def main() -> None:
    """Check the CPU image. Exit status: 0 all is well, or skipped with the reason; 1 it is not."""
    if reason := missing():
        click.echo(f"skipped: {reason}")
        return
    clips = demo_clips()
    steps: list[tuple[str, Callable[[], None]]] = [
        ("lint", check_lint),
        ("build", check_build),
        ("container", lambda: check_container(clips)),
        ("pod", lambda: check_pod(clips)),
    ]
    for name, step in steps:
        click.echo(name)
        try:
            step()
        except (CheckError, BuildError, PodmanError, ToolError, FetchError, subprocess.SubprocessError) as error:
            click.echo(f"  FAILED: {error}", err=True)
            sys.exit(1)


if __name__ == "__main__":
    main()
