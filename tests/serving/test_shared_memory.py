# SPDX-License-Identifier: Apache-2.0
"""Shared memory: too little of it is said before the server starts, and nobody else can read it."""

import os
import subprocess
import sys

import pytest

from eulernet_serving.child_launcher import launched
from eulernet_serving.shared_memory import MIN_BYTES, NEEDED_BYTES
from tests.serving.served_process import FREE_PORTS, SERVE

# With a /dev/shm of its own: sizes in MiB.
WITH_SIZE = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
MOUNT = 'mount -t tmpfs -o size={}m tmpfs /dev/shm && exec "$@"'


def run_with(size_mib, command, cwd):
    """Runs a command that sees a /dev/shm of so many MiB. Returns: exit status and standard error."""
    if subprocess.run([*WITH_SIZE, MOUNT.format(1), "sh", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine allows no mount namespace")
    done = subprocess.run(
        [*WITH_SIZE, MOUNT.format(size_mib), "sh", *command], cwd=cwd, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


def test_too_little_to_start_is_an_error(tmp_path):
    (tmp_path / "models").mkdir()
    status, err = run_with((MIN_BYTES >> 20) // 2, [*SERVE, *FREE_PORTS, "--repository", "models"], tmp_path)
    assert status == 1
    assert "/dev/shm has 4 MiB free, the server needs 8 MiB" in err
    assert "--shm-size" in err


@pytest.mark.parametrize("spare_mib", [-1, 1])
def test_too_little_for_large_frames_is_a_warning(tmp_path, spare_mib):
    code = "from eulernet_serving.embedded_server import check_shared_memory; check_shared_memory()"
    needed_mib = NEEDED_BYTES >> 20
    status, err = run_with(needed_mib + spare_mib, [sys.executable, "-c", code], tmp_path)
    assert status == 0
    assert (f"needs {needed_mib} MiB" in err) == (spare_mib < 0)


@pytest.mark.parametrize("private", [True, False])
def test_a_private_program_can_not_publish_its_files(tmp_path, private):
    code = (
        "import os; file = os.open('made', os.O_CREAT | os.O_RDWR, 0o644)\n"
        "os.fchmod(file, 0o644); print(oct(os.fstat(file).st_mode))\n"
        "os.fchmod(file, 0o640); print(oct(os.fstat(file).st_mode))"
    )
    before = os.umask(0o022)
    try:
        command = launched([sys.executable, "-c", code], private=private)
        out = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    finally:
        os.umask(before)
    assert out.split() == ["0o100600" if private else "0o100644", "0o100640"]
