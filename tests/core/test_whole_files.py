# SPDX-License-Identifier: Apache-2.0
"""Files and folders that appear complete or not at all, also when a writer fails or several work at once."""

import subprocess
import sys
from pathlib import Path

import pytest

from eulernet_core.whole_files import locked, replace_folder, replacing, sha256_of, write_whole


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "deep" / "scores.csv"
    assert write_whole(path, b"one")
    assert write_whole(path, b"two")
    assert not write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert [each.name for each in path.parent.iterdir()] == ["scores.csv"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_failed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(b"old")

    def fail():
        with replacing(path) as temporary:
            assert temporary.suffix == ".npy"
            temporary.write_bytes(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.npy"]


def test_a_writer_that_removes_its_file_changes_nothing(tmp_path):
    path = tmp_path / "empty.mp4"
    with replacing(path) as temporary:
        temporary.unlink()
    assert list(tmp_path.iterdir()) == []


def test_links_under_predictable_names_are_not_followed(tmp_path):
    target = tmp_path / "precious"
    target.write_text("kept")
    for name in (".table.csv.tmp", ".table.csv.part", ".table.csv"):
        (tmp_path / name).symlink_to(target)
    write_whole(tmp_path / "table.csv", b"rows")
    assert target.read_text() == "kept"
    assert not (tmp_path / "table.csv").is_symlink()


def test_a_lock_file_that_is_a_link_is_refused(tmp_path):
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"), locked(tmp_path / ".lock"):
        pass
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    with locked(tmp_path / "link") as held:
        assert held


def test_a_folder_is_replaced_whole(tmp_path):
    out = tmp_path / "repository"
    out.mkdir()
    (out / "stale").touch()
    replace_folder(out, lambda fresh: (fresh / "new").write_text("x"))
    assert [each.name for each in out.iterdir()] == ["new"]

    def fail(fresh: Path) -> None:
        (fresh / "half").touch()
        raise ValueError("no graph")

    with pytest.raises(ValueError, match="no graph"):
        replace_folder(out, fail)
    assert [each.name for each in out.iterdir()] == ["new"]
    assert [each.name for each in tmp_path.iterdir()] == ["repository"]


def test_checksum(tmp_path):
    (tmp_path / "empty").touch()
    assert sha256_of(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


APPEND_SLOWLY = """
import sys, time
from pathlib import Path
from eulernet_core.whole_files import locked
folder, mark = Path(sys.argv[1]), sys.argv[2]
with locked(folder / ".lock"):
    for _ in range(5):
        with (folder / "order").open("a") as stream:
            stream.write(mark)
        time.sleep(0.05)
"""
HOLD_AND_DIE = """
import os, sys
from pathlib import Path
from eulernet_core.whole_files import locked
with locked(Path(sys.argv[1]) / ".lock"):
    os._exit(3)
"""


def test_one_process_at_a_time(tmp_path):
    workers = [subprocess.Popen([sys.executable, "-c", APPEND_SLOWLY, str(tmp_path), mark]) for mark in "abc"]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    order = (tmp_path / "order").read_text()
    assert sorted(order[i : i + 5] for i in (0, 5, 10)) == ["aaaaa", "bbbbb", "ccccc"]


def test_a_killed_process_gives_the_lock_up(tmp_path):
    assert subprocess.run([sys.executable, "-c", HOLD_AND_DIE, str(tmp_path)], check=False).returncode == 3
    waited: list[bool] = []
    with locked(tmp_path / ".lock", lambda: waited.append(True)):
        pass
    assert waited == []
