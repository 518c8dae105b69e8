# SPDX-License-Identifier: Apache-2.0
"""The package: exported names, equal clients, and the cost of importing it."""

from __future__ import annotations

import inspect
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

import eulernet_client
from eulernet_client import AsyncClient, AsyncStream, Client, Stream, VideoResult, batch, errors


def python(code: str) -> str:
    """Runs code in a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


EXPORTED = "AsyncClient AsyncStream Client FrameResult Health Status Stream Tls Token VideoResult find_sources"


def test_exported_names() -> None:
    assert eulernet_client.__all__ == [*EXPORTED.split(), *errors.__all__]
    for name in eulernet_client.__all__:
        assert getattr(eulernet_client, name).__name__ == name
        assert name in dir(eulernet_client)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = eulernet_client.no_such_name


def test_the_former_name_of_a_result_still_works_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match="VideoResult"):
        former = eulernet_client.ClipResult
    assert former is VideoResult
    assert "ClipResult" not in vars(eulernet_client), "the next use warns again"


@pytest.mark.parametrize(("blocking", "asynchronous"), [(Client, AsyncClient), (Stream, AsyncStream)])
def test_both_clients_have_the_same_methods(blocking: type, asynchronous: type) -> None:
    names = {name for name in dir(blocking) if not name.startswith("_")}
    assert names == {name for name in dir(asynchronous) if not name.startswith("_")}
    for name in names:
        ours, theirs = getattr(blocking, name), getattr(asynchronous, name)
        assert inspect.getdoc(ours), f"{blocking.__name__}.{name}"
        assert inspect.getdoc(theirs), f"{asynchronous.__name__}.{name}"
        if not callable(ours):
            continue
        mine, other = inspect.signature(ours), inspect.signature(theirs)
        assert mine.parameters == other.parameters, name
        returned = mine.return_annotation
        assert other.return_annotation == ("AsyncStream" if returned == "Stream" else returned), name
        assert inspect.iscoroutinefunction(theirs) == (name != "stream")
        assert not inspect.iscoroutinefunction(ours)


def test_both_clients_have_the_same_constructor() -> None:
    assert inspect.signature(Client) == inspect.signature(AsyncClient)
    arguments = "urls timeout_s tls headers token plain_text_token max_frame_mb retry"
    assert list(inspect.signature(Client).parameters) == arguments.split()


def test_examples_use_exported_names_only(root: Path) -> None:
    """Imports in the Python examples of the README, the documentation and the docstrings of the package."""
    pages = [root / "README.md", *(root / "docs").rglob("*.md"), *(root / "client").rglob("*.py")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    found = re.findall(r"^ *from eulernet_client import ([\w, ]+)$", text, re.MULTILINE)
    names = {name.strip() for line in found for name in line.split(",")}
    assert "Client" in names
    assert names - {*eulernet_client.__all__, "errors"} == set()
    for line in (batch.__doc__ or "").splitlines():
        for name in re.findall(r"\b(AsyncClient|score_batch|find_sources)\(", line):
            assert name in {*eulernet_client.__all__, *batch.__all__}


def test_error_tree_is_the_one_drawn() -> None:
    """The tree in the docstring names every exception, each under its base."""
    drawn: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        words = line.replace("│", " ").replace("├──", "   ").replace("└──", "   ").split()
        if words and words[0].endswith("Error"):
            drawn.append((line.index(words[0]) // 4, words[0]))
    parents: list[str] = []
    for depth, name in drawn:
        kind = getattr(errors, name)
        parents = [*parents[:depth], name]
        assert kind.__bases__[0].__name__ == (parents[depth - 1] if depth else "Exception")
    exceptions = {
        name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)
    }
    assert {name for _, name in drawn} == exceptions == set(errors.__all__)
    assert errors.__all__ == sorted(errors.__all__)


def test_every_error_is_json_and_pickles() -> None:
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.EulerNetError):
            error = kind("a.mp4: text")
            assert error.to_dict() == {"type": name, "message": "a.mp4: text"}
            assert str(pickle.loads(pickle.dumps(error))) == "a.mp4: text"


HEAVY = ["torch", "openvino", "cv2", "onnx", "onnxruntime"]
OTHERS = [*HEAVY, "eulernet", "eulernet_build", "eulernet_serving", "eulernet_loadtest"]
BLOCK = f"""
import sys
OTHERS = {OTHERS!r}
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in OTHERS:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Block())
"""


def test_everything_imports_without_the_other_packages() -> None:
    python(
        BLOCK + "import importlib, pkgutil, eulernet_client\n"
        "for name in eulernet_client.__all__: getattr(eulernet_client, name)\n"
        "for module in pkgutil.walk_packages(eulernet_client.__path__, 'eulernet_client.'):\n"
        "    if not module.name.endswith('__main__'): importlib.import_module(module.name)\n"
    )


def test_command_line_starts_light() -> None:
    heavy = ("numpy", "grpc", "tritonclient", "av", "PIL", "jinja2", "simplejpeg", "tenacity", "rich", "asyncio")
    loaded = python(
        "import sys, eulernet_core.command_root, eulernet_client.score_command, eulernet_client.status_command\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    assert loaded.strip() == "[]"
