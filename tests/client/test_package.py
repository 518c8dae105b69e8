"""The package itself: exported names, and what importing it may cost."""

from __future__ import annotations

import subprocess
import sys

import eulernet_client
import pytest
from eulernet_client import errors


def python(code: str) -> str:
    """Runs code in a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_exported_names() -> None:
    assert eulernet_client.__all__ == [
        "AsyncClient",
        "AsyncStream",
        "Client",
        "ClipResult",
        "EulerNetError",
        "FrameError",
        "FrameResult",
        "Health",
        "MediaError",
        "ServerError",
        "Status",
        "Stream",
        "Tls",
    ]
    for name in eulernet_client.__all__:
        assert getattr(eulernet_client, name).__name__ == name
        assert name in dir(eulernet_client)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = eulernet_client.no_such_name


def test_error_tree_is_the_one_drawn() -> None:
    """The drawing in the docstring names every exception, each under its base."""
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
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert {name for _, name in drawn} == exceptions


def test_every_error_is_json_and_pickles() -> None:
    import pickle

    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.EulerNetError):
            error = kind("a.mp4: text")
            assert error.to_dict() == {"type": name, "message": "a.mp4: text"}
            assert str(pickle.loads(pickle.dumps(error))) == "a.mp4: text"


BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "openvino", "cv2", "onnx", "onnxruntime", "eulernet", "eulernet_build"}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Block())
"""


def test_everything_imports_without_the_other_packages() -> None:
    python(
        BLOCK + "import importlib, pkgutil, eulernet_client\n"
        "for name in eulernet_client.__all__: getattr(eulernet_client, name)\n"
        "for module in pkgutil.iter_modules(eulernet_client.__path__):\n"
        "    if module.name != '__main__': importlib.import_module('eulernet_client.' + module.name)\n"
    )


def test_command_line_starts_light() -> None:
    heavy = ("numpy", "grpc", "tritonclient", "av", "PIL", "jinja2", "simplejpeg", "tenacity", "rich", "asyncio")
    loaded = python(
        "import sys, eulernet_client, eulernet_client.cli, eulernet_client.commands\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    assert loaded.strip() == "[]"
