# SPDX-License-Identifier: Apache-2.0
"""This project's server of an earlier commit, from an unpacked tree: its repository, weights and serving packages."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.peers.child_process import Child, started
from benchmarks.peers.errors import BenchError
from benchmarks.peers.servers import triton_served
from benchmarks.peers.ways import Place, Running, Setting
from benchmarks.process_usage import Tree
from eulernet_core import shipped
from eulernet_loadtest.plan import Mode

FOLDERS = ("build", "client", "core", "serving", "training")  # with packages
HOW_TO_UNPACK = "git archive COMMIT | tar -x -C DIR, then --before DIR"
EXIT_TIMEOUT_S = 30.0


def check_tree(tree: Path) -> None:
    """Raises: BenchError if the folder is not an unpacked tree of this project."""
    for part in ("serving/eulernet_serving", "core/eulernet_core", "model_repository"):
        if not (tree / part).is_dir():
            raise BenchError(f"--before {tree}: has no {part}; unpack a tree there: {HOW_TO_UNPACK}")


def make_environment(tree: Path, folder: Path) -> Path:
    """A Python environment with the tree's packages and those installed here. Returns: its interpreter.

    PYTHONPATH would not do: the server's stages ignore it, and find their packages by the first python3 on PATH.
    """
    venv.create(folder, symlinks=True, with_pip=False, clear=True)
    # Folders that a .pth file adds are not searched for further .pth files, so today's packages stay out.
    installed = dict.fromkeys(Path(sysconfig.get_path(name)) for name in ("purelib", "platlib"))  # often the same
    text = "".join(f"{path.resolve()}\n" for path in (*(tree / each for each in FOLDERS), *installed))
    (packages,) = (folder / "lib").glob("python*/site-packages")
    (packages / "earlier_tree.pth").write_text(text)
    return folder / "bin" / "python3"


@contextlib.contextmanager
def earlier_clip_call(place: Place, setting: Setting) -> Iterator[Running]:
    """The earlier clip call, called by today's client."""
    tree, repository = place.inputs.earlier, place.inputs.earlier_repository
    assert tree is not None  # Inputs.absent leaves the way out
    assert repository is not None
    face_models = repository.with_name("earlier_face_models")
    if not repository.is_dir():
        # A copy: the earlier tree's conversion must not replace today's.
        shutil.copytree(shipped.face_models_folder(), face_models, dirs_exist_ok=True)
    paths = {"repository": repository, "face-models": face_models, "log": place.logs / "triton_earlier.log"}
    arguments = [part for name, path in paths.items() for part in (f"--{name}", str(path.resolve()))]
    python = make_environment(tree, repository.with_name("earlier_environment"))
    with started("benchmarks.peers.earlier_server", arguments, place.logs / "earlier_server.log", python) as child:
        try:
            ready = _first_line(child)
            yield triton_served(place, Mode.CLIPS, ready["url"], Tree(ready["pid"]), ready["ready_s"])
            child.check_running()
        finally:
            _stop(child)


def _first_line(child: Child) -> dict[str, Any]:
    """What the server prints when it is ready. Raises: BenchError if it ends before."""
    assert child.process.stdout is not None  # `started` opens both pipes
    line = child.process.stdout.readline()
    if not line:
        child.process.wait()
        child.check_running()
    answer: dict[str, Any] = json.loads(line)
    return answer


def _stop(child: Child) -> None:
    """Ends its standard input and waits until it has stopped the server."""
    assert child.process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        child.process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.process.wait(EXIT_TIMEOUT_S)
