# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the build tests: a GPU, or none; TensorRT for RTX; a plugin library that records TensorRT's calls."""

from pathlib import Path

import pytest

from eulernet_build.gpu import Gpu, NoGpuError, find_gpu
from tests import tensorrt_parts


@pytest.fixture(scope="session")
def gpu() -> Gpu:
    """This machine's GPU; skips the test without one."""
    try:
        return find_gpu()
    except NoGpuError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def no_gpu() -> None:
    """Skips the test on a machine with a GPU."""
    try:
        found = find_gpu()
    except NoGpuError:
        return
    pytest.skip(f"this machine has a GPU: {found.name}")


@pytest.fixture(scope="session")
def rtx() -> Path:
    """Folder with TensorRT for RTX; skips the test where it can't be downloaded."""
    try:
        return tensorrt_parts.rtx_packages()
    except tensorrt_parts.PartMissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugins with a proxy around each, and a stand-in for their kernels; skips the test without headers or g++."""
    library = tmp_path_factory.mktemp("recorder") / "librecorder.so"
    try:
        return tensorrt_parts.compile_plugins(library, tensorrt_parts.PROXY / "recording_creators.cpp")
    except tensorrt_parts.PartMissingError as error:
        pytest.skip(str(error))
