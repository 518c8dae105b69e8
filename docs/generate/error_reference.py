# SPDX-License-Identifier: Apache-2.0
"""The error reference: the client's exceptions and the STATUS flags of a frame."""

import ast
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

import eulernet_client.errors
import eulernet_core.errors
from docs.generate.markdown import escaped, table
from eulernet_core.errors import EulerNetError
from eulernet_core.status import NOT_SCORED, Status

ROOT = Path(__file__).parents[2]
PACKAGES = (
    ("core", "eulernet_core"),
    ("serving", "eulernet_serving"),
    ("training", "eulernet"),
    ("build", "eulernet_build"),
    ("client", "eulernet_client/console"),
    ("client", "eulernet_loadtest"),
)
_MODULES = (eulernet_core.errors, eulernet_client.errors)
_INTRODUCTION = """# Error reference

This page is generated from the code.

The client raises one family of exceptions. All derive from `EulerNetError`, whose `to_dict()` gives class and text for
JSON. Each message names the file, the frame or the server, and the remedy. Import them from `eulernet_client`.

## Exceptions
"""
_OTHERS = """## Exceptions of the other packages

A command that meets one of these prints its message and ends with exit status 1.
"""
_STATUS = """## STATUS flags

Every frame's response has a STATUS, a sum of these flags. The frame was scored if `STATUS & {not_scored} == 0`.
The other flags are notes about a scored frame.
A frame that was not scored leaves the filter's state unchanged and has LIVENESS 0.
It is a response and not an error, because an error would also discard the frame's START or END flag.
"""
# One line a flag; the class's docstring describes them together.
STATUS_MEANINGS = {
    Status.OK: "one face, scored",
    Status.SEVERAL_FACES: "several faces; the most prominent one was scored",
    Status.RELOCATED: "the detector found the face elsewhere; the filter restarted at this frame",
    Status.NO_FACE: "no face found; see the limits of the face's size in [how it works](../how_it_works.md#limits)",
    Status.UNDECODABLE: "not a complete JPEG, or a JPEG that cannot be decoded",
    Status.TOO_LARGE: "too many bytes, pixels or scans ([limits](../how_it_works.md#limits)); nothing was decoded",
    Status.SMALL_FACE: "scored, but the face has too few pixels to judge; see [quality](../quality.md)",
    Status.DEGRADED: "scored, but the face is too blurred or too compressed to judge; see [quality](../quality.md)",
    Status.REPEATED: "scored; the picture is the same as the frame before, so it shows nothing new over time",
}
STATUS_ERRORS = {
    Status.NO_FACE: "NoFaceError",
    Status.UNDECODABLE: "UndecodableError",
    Status.TOO_LARGE: "TooLargeError",
}


def find_errors() -> list[type[EulerNetError]]:
    """Every exception of the client and of core, each before the ones derived from it."""
    found = {
        value
        for module in _MODULES
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, EulerNetError)
    }
    return [error for error, _ in _tree(EulerNetError, found, 0)]


def find_others() -> list[tuple[str, str, str]]:
    """The public exceptions outside of the client's family: name, module, meaning."""
    client = {error.__name__ for error in find_errors()}
    found = []
    for folder, package in PACKAGES:
        for path in sorted((ROOT / folder / package).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT / folder).with_suffix("").parts)
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef) and is_error(node) and node.name not in client:
                    found.append((node.name, module, escaped(ast.get_docstring(node) or "")))
    return sorted(found)


def is_error(node: ast.ClassDef) -> bool:
    """Whether a class is a public exception."""
    return node.name.endswith("Error") and not node.name.startswith("_")


def error_page(errors: list[type[EulerNetError]]) -> str:
    """The page: the tree, a table of the exceptions, a table of the flags."""
    tree = "\n".join("    " * depth + error.__name__ for error, depth in _tree(EulerNetError, set(errors), 0))
    rows = [[f"`{error.__name__}`", f"`{error.__bases__[0].__name__}`", _meaning(error)] for error in errors]
    flags = [
        [
            str(int(flag)),
            f"`{flag.name}`",
            STATUS_MEANINGS[flag],
            f"`{STATUS_ERRORS[flag]}`" if flag in STATUS_ERRORS else "–",
        ]
        for flag in (Status.OK, *Status)
    ]
    parts = [
        _INTRODUCTION + f"\n```text\n{tree}\n```",
        table(["exception", "base", "meaning"], rows),
        _STATUS.format(not_scored=int(NOT_SCORED)),
        table(["value", "flag", "meaning", "exception of the clip"], flags),
        _OTHERS,
        table(
            ["exception", "module", "meaning"],
            [[f"`{name}`", f"`{where}`", text] for name, where, text in find_others()],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _tree(
    error: type[EulerNetError], known: set[type[EulerNetError]], depth: int
) -> Iterator[tuple[type[EulerNetError], int]]:
    yield error, depth
    for inner in sorted(error.__subclasses__(), key=lambda each: each.__name__):
        if inner in known:
            yield from _tree(inner, known, depth + 1)


def _meaning(error: type[EulerNetError]) -> str:
    """The docstring up to its list of arguments."""
    return escaped(cleandoc(error.__doc__ or "").partition("\nArgs:")[0])
