# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the build tests: a GPU, or none."""

import pytest

from eulernet_build.gpu import Gpu, NoGpuError, find_gpu


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
