# SPDX-License-Identifier: Apache-2.0
"""libpython: the installed library, or the one in the distribution's package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eulernet_serving import libpython, triton_wheel

DEBIAN_PYTHON = Path("/usr/bin/python3")


def test_a_python_without_shared_library_is_told_how_to_build_one(monkeypatch, tmp_path):
    monkeypatch.setattr(libpython, "python_version", lambda: "3.99")
    monkeypatch.setattr(libpython.sys, "base_prefix", "/opt/python")
    monkeypatch.setattr(libpython, "unpack_folder", lambda: tmp_path)
    with pytest.raises(libpython.LibpythonError, match=r"libpython3\.99\.so\.1\.0.*--enable-shared"):
        libpython.find_libpython()
    with pytest.raises(triton_wheel.TritonMissingError, match="--enable-shared"):
        triton_wheel.check_host()
    assert not [*tmp_path.iterdir()]


def test_a_distribution_without_apt_is_told_which_package_it_needs(monkeypatch, tmp_path):
    monkeypatch.setattr(libpython.sys, "base_prefix", "/usr")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(libpython.LibpythonError, match=r"apt-get and dpkg.*package that contains libpython3"):
        libpython.unpacked(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt is not installed")
def test_a_package_that_apt_cannot_find_leaves_nothing_and_names_the_line_to_run(monkeypatch, tmp_path):
    monkeypatch.setattr(libpython, "python_version", lambda: "3.99")
    monkeypatch.setattr(libpython.sys, "base_prefix", "/usr")
    settings = {"Etc::sourcelist": "/dev/null", "Etc::sourceparts": "/dev/null", "State::Lists": tmp_path / "lists"}
    (tmp_path / "apt.conf").write_text("".join(f'Dir::{key} "{value}";\n' for key, value in settings.items()))
    (tmp_path / "lists" / "partial").mkdir(parents=True)
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    with pytest.raises(libpython.LibpythonError, match=r"libpython3\.99.*run  apt-get install libpython3\.99"):
        libpython.unpacked(tmp_path / "out")
    assert [each.name for each in (tmp_path / "out").iterdir()] == [".lock"]


@pytest.mark.network
def test_the_distributions_package_is_unpacked_once(root, tmp_path):
    """Debian's interpreter unpacks its package."""
    if not (DEBIAN_PYTHON.exists() and Path("/etc/debian_version").exists()):
        pytest.skip("the system's Python is not Debian's")
    code = "import sys, pathlib; from eulernet_serving.libpython import unpacked; print(unpacked(pathlib.Path('lib')))"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{root / 'core'}:{root / 'serving'}"}
    first, again = (
        subprocess.run(
            [DEBIAN_PYTHON, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        for _ in range(2)
    )
    assert first.returncode == 0, first.stderr
    library = tmp_path / first.stdout.strip()
    assert library.stat().st_size > 1_000_000
    assert again.stdout == first.stdout
    assert {each.name for each in (tmp_path / "lib").iterdir()} == {".lock", library.parents[3].name}


def test_the_check_before_installation_imports_the_standard_library_only(root):
    code = "import sys; sys.path += ['core', 'serving']; import eulernet_serving.triton_wheel; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    packages = {name.split(".")[0] for name in done.stdout.split()}
    own = {"eulernet_core", "eulernet_serving"}
    assert packages - own <= {*sys.stdlib_module_names, "__main__"} | {n for n in packages if n.startswith("_")}
