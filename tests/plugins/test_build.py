# SPDX-License-Identifier: Apache-2.0
"""The tools that the plugins' build finds, and its errors for missing ones."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tensorrt_parts import load_script

HEADER = "#define TRT_MAJOR_ENTERPRISE {}\n#define TRT_MINOR_ENTERPRISE {}\n"
OLD_HEADER = "#define NV_TENSORRT_MAJOR {} //!< major\n#define NV_TENSORRT_MINOR {} //!< minor\n"


def headers(folder: Path, major: int, minor: int, text: str = HEADER) -> Path:
    folder.mkdir(parents=True)
    (folder / "NvInferVersion.h").write_text(text.format(major, minor))
    return folder


@pytest.fixture
def bare(build, monkeypatch, tmp_path):
    """A machine without the tools: nothing on PATH, in the usual places or among pip's packages."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    for name in ("CUDACXX", "TENSORRT_ROOT", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(build, "_nvcc_places", lambda: iter([]))
    monkeypatch.setattr(build, "_tensorrt_places", lambda: iter([]))
    return build


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--kernels-only"], ["nvcc", "pip install nvidia-cuda-nvcc", "CUDACXX", "nvcr.io/nvidia/tensorrt"]),
        ([], ["nvcc", "pip install nvidia-cuda-nvcc"]),
    ],
)
def test_missing_nvcc_is_named_with_its_remedy(bare, capsys, arguments, words):
    assert bare.main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    for word in words:
        assert word in said


def test_missing_headers_are_named_with_their_remedy(bare):
    with pytest.raises(bare.ToolMissingError) as raised:
        bare.find_tensorrt()
    for word in ("NvInfer.h", "10.13", "TENSORRT_ROOT", "libnvinfer-headers-dev", "--kernels-only"):
        assert word in str(raised.value)


def test_missing_cmake_is_named_with_its_remedy(bare):
    with pytest.raises(bare.ToolMissingError, match="pip install cmake"):
        bare._cmake()


@pytest.mark.parametrize("text", [HEADER, OLD_HEADER])
def test_headers_are_found_by_root_or_include_folder(build, monkeypatch, tmp_path, text):
    include = headers(tmp_path / "TensorRT-11.1" / "include", 11, 1, text)
    for root in (include, include.parent):
        monkeypatch.setenv("TENSORRT_ROOT", str(root))
        assert build.find_tensorrt() == build.TensorRT(include, (11, 1))


def test_old_headers_are_refused(build, monkeypatch, tmp_path):
    monkeypatch.setenv("TENSORRT_ROOT", str(headers(tmp_path / "include", 10, 12)))
    with pytest.raises(build.ToolMissingError, match=r"10\.12.*include.*10\.13"):
        build.find_tensorrt()


def test_a_folder_without_a_version_has_no_headers(build, tmp_path):
    assert build.read_tensorrt(tmp_path) is None
    assert build.read_tensorrt(headers(tmp_path / "include", 1, 1, "// nothing\n")) is None


def test_fetched_headers_are_checked_and_found(build, monkeypatch, tmp_path):
    """A folder of other files in place of NVIDIA's repository."""
    fetch = load_script("fetch_headers")
    source = headers(tmp_path / "source", 11, 1)
    text = (source / "NvInferVersion.h").read_bytes()
    monkeypatch.setattr(fetch, "SHA256", {"NvInferVersion.h": hashlib.sha256(text).hexdigest()})
    include = fetch.fetch_headers(tmp_path / "kept", source.as_uri())
    assert fetch.fetch_headers(tmp_path / "kept", "file:///nowhere") == include  # not downloaded again
    monkeypatch.setattr(build, "HEADERS", tmp_path / "kept")
    assert build.TensorRT(include, (11, 1)) in build.all_tensorrt()


@pytest.mark.parametrize("address", ["file:///nowhere", "changed"])
def test_missing_or_changed_headers_are_refused(address, monkeypatch, tmp_path):
    fetch = load_script("fetch_headers")
    source = headers(tmp_path / "source", 11, 1)
    monkeypatch.setattr(fetch, "SHA256", {"NvInferVersion.h": "0" * 64})
    with pytest.raises(fetch.HeadersError, match=r"NvInferVersion\.h.*TENSORRT_ROOT"):
        fetch.fetch_headers(tmp_path / "kept", source.as_uri() if address == "changed" else address)
    assert list((tmp_path / "kept").iterdir()) == []


def test_all_supported_architectures_are_compiled(build):
    known = frozenset({75, 80, 86, 87, 89, 90, 100, 103, 120, 121})
    assert build.architecture_list(known) == "75-real;80;86-real;89-real;90-real;100-real;120"


def test_an_older_compiler_adds_ptx_for_newer_architectures(build):
    assert build.architecture_list(frozenset({70, 75, 80, 86, 89, 90})) == "75-real;80;86-real;89-real;90"
    with pytest.raises(build.ToolMissingError, match=r"12\.8"):
        build.architecture_list(frozenset({50, 60}))


def test_it_needs_only_the_standard_library(root):
    """NVIDIA's container has a bare Python."""
    script = root / "plugins" / "diirf" / "build.py"
    environment = {"PATH": os.environ["PATH"], "HOME": str(root / "nowhere")}
    command = [sys.executable, "-I", "-S", str(script), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "--kernels-only" in done.stdout
