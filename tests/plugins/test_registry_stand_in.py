# SPDX-License-Identifier: Apache-2.0
"""The plugins in the registry of TensorRT for RTX, compiled without nvcc: a stand-in replaces the kernels."""

import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from eulernet_build.rtx_plan_order import LIBRARIES, PLAIN_NAME
from tests import tensorrt_parts

KERNELS_ID = "the kernels of this test"
RUN_TIMEOUT_S = 120.0
# Loads the library like a server, in a process with TensorRT and a logger.
LOAD = """
import ctypes, json, sys
from pathlib import Path
tensorrt, library = sys.argv[1:]
sys.path.insert(0, str(Path(tensorrt).parents[1]))
import tensorrt_rtx_bindings as trt
class Logger(trt.ILogger):
    messages = []
    def log(self, severity, text):
        if severity <= trt.ILogger.Severity.WARNING:
            self.messages.append(text)
logger = Logger()
builder = trt.Builder(logger)
logger.messages.clear()
ctypes.CDLL(tensorrt, ctypes.RTLD_GLOBAL)
ctypes.CDLL(library)
found = [[each.name, each.plugin_version, each.plugin_namespace] for each in trt.get_plugin_registry().all_creators]
ours = sorted(each for each in found if each[2] == "eulernet")
print(json.dumps({"creators": ours, "messages": logger.messages}))
"""


@pytest.fixture(scope="module")
def tensorrt() -> Path:
    """The library of TensorRT for RTX, which has the registry."""
    try:
        return next((tensorrt_parts.rtx_packages() / LIBRARIES).glob(f"{PLAIN_NAME}.*"))
    except tensorrt_parts.PartMissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def program(compile_cpp: Callable[..., Path]) -> Path:
    try:
        includes = (tensorrt_parts.tensorrt_include(), tensorrt_parts.cuda_include())
    except tensorrt_parts.PartMissingError as error:
        pytest.skip(str(error))
    return compile_cpp("registry.cpp", "registry_stand_in", includes, ("-ldl",))


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Compiles the library with the entry points of a source of plugins/diirf."""
    folder = tmp_path_factory.mktemp("stand_in")

    @functools.cache
    def compiled(entry: str) -> Path:
        library = folder / f"lib{entry}.so"
        try:
            return tensorrt_parts.compile_plugins(library, tensorrt_parts.PLUGIN / f"{entry}.cpp", KERNELS_ID)
        except tensorrt_parts.PartMissingError as error:
            pytest.skip(str(error))

    return compiled


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(each) for each in arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False)


def test_the_registry_loads_the_plugins(tensorrt, program, libraries):
    done = run(program, tensorrt, libraries("library"))
    lines = done.stdout.splitlines()
    assert not [line for line in lines if line.startswith("FAILED")]
    assert done.returncode == 0, done.stderr
    assert {line for line in lines if line.startswith("timing cache id")} == {f"timing cache id {KERNELS_ID}"}
    for op in ("DIIRF", "DIIRFGate"):  # for three data types
        assert lines.count(f"ok {op} allocates nothing in enqueue") == 3
        assert lines.count(f"ok {op} has nothing to do for an empty batch") == 3


def test_a_healthy_load_logs_nothing(tensorrt, libraries):
    done = run(sys.executable, "-c", LOAD, tensorrt, libraries("autoload"))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["creators"] == [["DIIRF", "1", "eulernet"], ["DIIRFGate", "2", "eulernet"]]
    assert report["messages"] == []


def test_the_stand_in_is_never_taken_for_the_kernels(libraries):
    """A library without kernels must be recognizable."""
    if shutil.which("strings") is None:
        pytest.skip("no strings: apt-get install binutils")
    assert "this library has no kernels" in run("strings", libraries("library")).stdout


def test_the_timing_cache_id_changes_with_the_kernels(root, tmp_path):
    """CMake computes it; the rule is the part of CMakeLists.txt before the plugins' target."""
    if shutil.which("cmake") is None:
        pytest.skip("no cmake: apt-get install cmake")
    text = (root / "plugins" / "diirf" / "CMakeLists.txt").read_text()
    rule = text[text.index("file(GLOB kernel_sources") : text.index("add_library(plugin_objects")]
    rule = rule.replace(" CONFIGURE_DEPENDS", "").replace("set_property(DIRECTORY", "# ")
    script = tmp_path / "id.cmake"
    script.write_text(
        f'set(CMAKE_CURRENT_SOURCE_DIR "{tmp_path}")\n'
        'set(CMAKE_CUDA_ARCHITECTURES "90")\nset(CMAKE_CUDA_COMPILER_VERSION "${version}")\n'
        f'{rule}message("id=${{kernels_id}}")\n'
    )
    kernel = tmp_path / "a.cuh"

    def kernels_id(source: str, version: str = "13.0") -> str:
        kernel.write_text(source)
        done = run("cmake", f"-Dversion={version}", "-P", script)
        assert done.returncode == 0, done.stderr
        return done.stderr.partition("id=")[2].strip()

    first = kernels_id("one")
    assert len(first) == 16
    assert kernels_id("one") == first
    assert kernels_id("two") != first
    assert kernels_id("one", "13.1") != first
