# SPDX-License-Identifier: Apache-2.0
"""The plugin library in the registry of the real TensorRT runtime, without a device; registry.cpp makes the calls."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = [pytest.mark.timeout(1200), pytest.mark.slow]  # compiles with nvcc; test_registry_stand_in.py does not

MAJORS = (10, 11)
RUN_TIMEOUT_S = 120.0
SKIP_NO_RUNTIME = "no libnvinfer or libnvinfer_lean of TensorRT {0}: pip install tensorrt-lean-cu13-libs=={0}.*"

# PTX only: the tests use no device, and machine code doubles the compile time.
ARCHITECTURES = "80-virtual"


@dataclass(frozen=True)
class Built:
    """Libraries built with one TensorRT's headers, the runtime that loads them, the host program, its environment."""

    kernels: Path
    plugins: Path
    autoload: Path
    runtime: Path
    program: Path
    environment: dict[str, str]

    def run(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(each) for each in (self.program, *arguments)],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_S,
            check=False,
        )


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all versions: the kernels do not depend on TensorRT and are compiled once."""
    return tmp_path_factory.mktemp("plugins")


@pytest.fixture(scope="module", params=MAJORS)
def built(
    request: pytest.FixtureRequest,
    build: ModuleType,
    out: Path,
    compile_cpp: Callable[..., Path],
    runtimes: dict[int, Path],
) -> Built:
    """The libraries, built by the code of `make plugin`."""
    major = request.param
    headers = next((each for each in build.all_tensorrt() if each.version[0] == major), None)
    if headers is None:
        pytest.skip(f"no headers of TensorRT {major}: set TENSORRT_ROOT to their folder")
    if major not in runtimes:
        pytest.skip(SKIP_NO_RUNTIME.format(major))
    try:
        nvcc = build.find_nvcc()
        kernels, plugins, autoload = build.build(out, nvcc, headers, ARCHITECTURES, jobs=1)
    except build.ToolMissingError as error:
        pytest.skip(str(error))
    program = compile_cpp("registry.cpp", f"registry{major}", (headers.include, nvcc.include), ("-ldl",))
    folder = out / f"runtime{major}"
    folder.mkdir()
    runtime = folder / f"libnvinfer.so.{major}"  # the name that the autoload library needs
    runtime.symlink_to(runtimes[major])
    kept = folder / "libraries"
    kept.mkdir()
    copies = [Path(shutil.copy(each, kept)) for each in (kernels, plugins, autoload)]
    environment = os.environ | {"LD_LIBRARY_PATH": f"{folder}:{os.environ.get('LD_LIBRARY_PATH', '')}"}
    return Built(copies[0], copies[1], copies[2], runtime, program, environment)


def test_the_registry_loads_the_plugins(built):
    done = built.run(built.runtime, built.plugins)
    lines = done.stdout.splitlines()
    assert not [line for line in lines if line.startswith("FAILED")]
    assert done.returncode == 0, done.stderr
    for op in ("DIIRF", "DIIRFGate"):  # the last check of each, for three data types
        assert lines.count(f"ok {op} has nothing to do for an empty batch") == 3
    assert lines[-1] == "ok the registry lets the library go"


def test_the_autoload_library_registers_itself(built):
    done = built.run(built.runtime, "--autoload", built.autoload)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("registered itself") == 2
    assert not done.stderr


def test_the_autoload_library_can_be_preloaded(built):
    """Also into a process without TensorRT, which must not notice it."""
    done = built.run(built.runtime, "--autoload", built.autoload, LD_PRELOAD=str(built.autoload))
    assert done.returncode == 0, done.stdout + done.stderr
    other = subprocess.run(
        ["/bin/true"], env=built.environment | {"LD_PRELOAD": str(built.autoload)}, capture_output=True, check=False
    )
    assert (other.returncode, other.stderr) == (0, b"")


def test_libraries_export_only_their_entry_points(built):
    if shutil.which("nm") is None:
        pytest.skip("no nm: apt-get install binutils")
    expected = {
        built.kernels: {"eulernet_diirf", "eulernet_diirf_gate", "eulernet_error_string"},
        built.plugins: {"getCreators", "setLoggerFinder"},
        built.autoload: set(),
    }
    for library, names in expected.items():
        listed = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True)
        assert {line.split()[-1] for line in listed.stdout.splitlines()} == names, library.name


def test_kernels_report_errors_without_a_driver(built):
    """Through ctypes, like gpu-check: refusals need no device, and errors have names."""
    library = ctypes.CDLL(str(built.kernels))
    library.eulernet_error_string.restype = ctypes.c_char_p
    memory = ctypes.create_string_buffer(256)
    refused = library.eulernet_diirf(*[memory] * 7, 1, 1, 1, 0, 1, 0, None)
    assert library.eulernet_error_string(refused).startswith(b"cudaErrorInvalidValue")
    if not Path("/dev/nvidiactl").exists():
        launched = library.eulernet_diirf(*[memory] * 7, 1, 1, 1, 1, 1, 0, None)
        assert library.eulernet_error_string(launched).startswith(b"cudaError")
        assert launched not in (0, refused)
