# SPDX-License-Identifier: Apache-2.0
"""Builds the kernels and the TensorRT plugins of this folder into out/plugins: finds the tools, then runs CMake.

Needs only Python's standard library, so it runs in containers without this project's packages.
"""

import argparse
import os
import re
import shutil
import site
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
OUT = FOLDER.parents[1] / "out" / "plugins"
HEADERS = FOLDER.parents[1] / "out" / "tensorrt_headers"  # of fetch_headers.py
MIN_TENSORRT = (10, 13)  # eulernet_build.engine needs the same version
MIN_CMAKE = (3, 24)

# Machine code for each of these that the compiler supports, and PTX of two of them for all other architectures.
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
PTX = (80, 120)

NVCC_REMEDY = (
    "nvcc not found: build in NVIDIA's container (nvcr.io/nvidia/tensorrt), install the CUDA toolkit, or "
    "`pip install nvidia-cuda-nvcc nvidia-cuda-crt nvidia-nvvm nvidia-cuda-runtime nvidia-cuda-cccl`, all five of one "
    "version; if it is installed in another place, set CUDACXX to its path"
)
TENSORRT_REMEDY = (
    "TensorRT's headers (NvInfer.h, 10.13 or newer) not found: build in NVIDIA's container (nvcr.io/nvidia/tensorrt), "
    "download those of TensorRT 11 with `python3 plugins/diirf/fetch_headers.py`, "
    "`apt-get install libnvinfer-headers-dev` from NVIDIA's repository, or unpack TensorRT's tar archive or the folder "
    "include/ of github.com/NVIDIA/TensorRT and set TENSORRT_ROOT to it; use the major version of the server's "
    "TensorRT. --kernels-only needs no TensorRT"
)
CMAKE_REMEDY = "cmake 3.24 or newer not found: `apt-get install cmake` or `pip install cmake`"
COMPILER_REMEDY = "g++ not found: `apt-get install g++`, or set CXX"


class ToolMissingError(Exception):
    """A tool of the build is missing; the message names it and how to install it."""


@dataclass(frozen=True)
class Nvcc:
    """CUDA's compiler: `path` of nvcc, `home` of its toolkit with include/, supported `architectures`."""

    path: Path
    home: Path
    architectures: frozenset[int]

    @property
    def include(self) -> Path:
        """The folder with cuda_runtime_api.h."""
        return self.home / "include"


@dataclass(frozen=True)
class TensorRT:
    """TensorRT's headers: the folder with NvInfer.h, and their (major, minor)."""

    include: Path
    version: tuple[int, int]


def _package_folders() -> list[Path]:
    """Folders of pip's packages: the interpreter's, the user's, and the clone's .venv."""
    folders = [*site.getsitepackages(), site.getusersitepackages()]
    venv = (FOLDER.parents[1] / ".venv" / "lib").glob("python3*/site-packages")
    return list(dict.fromkeys([*map(Path, folders), *venv]))


def _nvcc_places() -> Iterator[Path]:
    if os.environ.get("CUDACXX"):
        yield Path(os.environ["CUDACXX"])
    if found := shutil.which("nvcc"):
        yield Path(found)
    yield Path("/usr/local/cuda/bin/nvcc")
    for folder in _package_folders():
        yield from sorted(folder.glob("nvidia/cu*/bin/nvcc"), reverse=True)


def find_nvcc() -> Nvcc:
    """Raises: ToolMissingError with the remedy."""
    path = next((each for each in _nvcc_places() if each.is_file()), None)
    if path is None:
        raise ToolMissingError(NVCC_REMEDY)
    # nvcc may be a script or a link in another place, so ask it for its toolkit's folder.
    dry = subprocess.run([path, "-dryrun", "-x", "cu", os.devnull], capture_output=True, text=True, check=False)
    top = re.search(r"^#\$ TOP=(.*)$", dry.stderr, re.MULTILINE)
    home = Path(top[1]).resolve() if top else path.resolve().parents[1]
    if not (home / "include" / "cuda_runtime_api.h").is_file():
        raise ToolMissingError(f"{path}: no headers in {home}/include; `pip install nvidia-cuda-runtime`")
    listed = subprocess.run([path, "--list-gpu-arch"], capture_output=True, text=True, check=False)
    return Nvcc(path, home, frozenset(int(each) for each in re.findall(r"compute_(\d+)", listed.stdout)))


def _version_number(path: Path) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", path.name))


def _tensorrt_places() -> Iterator[Path]:
    if os.environ.get("TENSORRT_ROOT"):
        yield Path(os.environ["TENSORRT_ROOT"])
    yield from (Path("/usr/include") / arch for arch in ("x86_64-linux-gnu", "aarch64-linux-gnu", "."))
    for parent in ("/usr/local", "/opt"):
        yield from sorted(Path(parent).glob("[tT]ensor[rR][tT]*"), key=_version_number, reverse=True)
    yield from sorted(HEADERS.glob("*/include"), key=lambda path: _version_number(path.parent), reverse=True)


def read_tensorrt(include: Path) -> TensorRT | None:
    """The headers in a folder, or None."""
    header = include / "NvInferVersion.h"
    if not header.is_file():
        return None
    # TensorRT 10 and 11 define the numbers through a second macro, older versions directly.
    text = header.read_text()
    numbers = []
    for part in ("MAJOR", "MINOR"):
        found = re.search(rf"^#define (?:TRT_{part}_ENTERPRISE|NV_TENSORRT_{part}) (\d+)", text, re.MULTILINE)
        if found is None:
            return None
        numbers.append(int(found[1]))
    return TensorRT(include, (numbers[0], numbers[1]))


def all_tensorrt() -> list[TensorRT]:
    """TensorRT's headers of every version in all usual places, TENSORRT_ROOT first."""
    found = (read_tensorrt(each) for place in _tensorrt_places() for each in (place, place / "include"))
    return list(dict.fromkeys(each for each in found if each))


def find_tensorrt() -> TensorRT:
    """The headers for the build. Raises: ToolMissingError with the remedy if they are missing or too old."""
    found = all_tensorrt()
    if not found:
        raise ToolMissingError(TENSORRT_REMEDY)
    if found[0].version < MIN_TENSORRT:
        version = ".".join(map(str, found[0].version))
        raise ToolMissingError(f"TensorRT {version} in {found[0].include} is too old. {TENSORRT_REMEDY}")
    return found[0]


def architecture_list(known: frozenset[int]) -> str:
    """CMAKE_CUDA_ARCHITECTURES for a compiler that supports `known`; its newest also as PTX."""
    chosen = [each for each in ARCHITECTURES if each in known]
    if not chosen:
        raise ToolMissingError(f"nvcc supports {sorted(known)}, none of {ARCHITECTURES}: install CUDA 12.8 or newer")
    ptx = {each for each in PTX if each in chosen} | {chosen[-1]}
    return ";".join(f"{each}" if each in ptx else f"{each}-real" for each in chosen)


def _cmake() -> str:
    cmake = shutil.which("cmake")
    answer = subprocess.run([cmake, "--version"], capture_output=True, text=True, check=False).stdout if cmake else ""
    version = re.search(r"(\d+)\.(\d+)", answer)
    if cmake is None or version is None or (int(version[1]), int(version[2])) < MIN_CMAKE:
        raise ToolMissingError(CMAKE_REMEDY)
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        raise ToolMissingError(COMPILER_REMEDY)
    return cmake


def build(out: Path, nvcc: Nvcc, tensorrt: TensorRT | None, architectures: str, jobs: int) -> list[Path]:
    """Configures and builds.

    Args:
        out: folder for the libraries; intermediate files go to its subfolder `build`.
        nvcc: the compiler.
        tensorrt: headers for the plugins; None builds only the kernels.
        architectures: in the syntax of CMAKE_CUDA_ARCHITECTURES.
        jobs: number of parallel compilers.

    Returns:
        The libraries.

    Raises:
        ToolMissingError: no CMake or C++ compiler. subprocess.CalledProcessError: the build failed.
    """
    cmake = _cmake()
    folder = out / "build"
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_CUDA_COMPILER": nvcc.path,
        "CMAKE_CUDA_ARCHITECTURES": architectures,
        "CMAKE_LIBRARY_OUTPUT_DIRECTORY": out.resolve(),
        "EULERNET_TENSORRT_INCLUDE": tensorrt.include.resolve() if tensorrt else "",
        "EULERNET_TENSORRT_MAJOR": tensorrt.version[0] if tensorrt else "",
    }
    settings = [f"-D{key}={value}" for key, value in options.items()]
    # pip's packages have their libraries in lib, but their nvcc searches only lib64.
    libraries = [str(nvcc.home / "lib"), *filter(None, [os.environ.get("LIBRARY_PATH")])]
    environment = os.environ | {"LIBRARY_PATH": ":".join(libraries)}
    subprocess.run([cmake, "-S", FOLDER, "-B", folder, *settings], check=True, env=environment)
    subprocess.run([cmake, "--build", folder, "--parallel", str(jobs)], check=True, env=environment)
    names = ["kernels", "plugins", "plugins_autoload"] if tensorrt else ["kernels"]
    return [out / f"libeulernet_{name}.so" for name in names]


def main(arguments: list[str] | None = None) -> int:
    """The command. Exit status: 0 built, 1 a tool is missing or the build failed, 2 wrong usage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the libraries (default: out/plugins)")
    parser.add_argument("--kernels-only", action="store_true", help="build only the kernels, without TensorRT")
    parser.add_argument("--architectures", help='for example "90-real" (default: all, which takes minutes)')
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="number of parallel compilers")
    options = parser.parse_args(arguments)
    try:
        nvcc = find_nvcc()
        tensorrt = None if options.kernels_only else find_tensorrt()
        architectures = options.architectures or architecture_list(nvcc.architectures)
        print(f"nvcc      {nvcc.path}, for {architectures}")
        if tensorrt:
            print(f"TensorRT  {'.'.join(map(str, tensorrt.version))}, {tensorrt.include}", flush=True)
        for library in build(options.out, nvcc, tensorrt, architectures, options.jobs):
            print(library)
    except ToolMissingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"error: {error.cmd[0]} ended with {error.returncode}; see its messages above", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
