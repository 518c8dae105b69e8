"""Rules of the house: who imports whom, and what the documentation must name."""

import ast
import importlib.metadata
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"eulernet", "eulernet_build", "eulernet_client"}
MAY_IMPORT = {
    "training/eulernet": {"eulernet"},
    "build/eulernet_build": {"eulernet_build", "eulernet"},
    "client/eulernet_client": {"eulernet_client"},
    "model_repository": set(),
}


def imported(path: Path) -> set[str]:
    """Top-level names that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_packages_import_only_whom_they_may(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for path in files:
        assert imported(path) & OURS <= MAY_IMPORT[folder], path


def test_client_and_served_models_need_no_torch():
    for folder in ("client/eulernet_client", "model_repository"):
        for path in (ROOT / folder).rglob("*.py"):
            assert "torch" not in imported(path), path


def test_every_command_is_documented():
    readme = (ROOT / "README.md").read_text()
    commands = {each.name for each in importlib.metadata.entry_points(group="eulernet.commands")}
    assert commands >= {"score", "serve", "status", "export"}
    for command in commands:
        assert f"eulernet {command}" in readme, command


def test_every_make_target_is_documented_in_its_help():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())
    explained = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert targets == explained


def test_versions_are_pinned():
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert line.startswith("#") or re.match(r"[\w.\-]+==[\w.]+( ; python_version [<>=]+ \"3\.\d+\")?$", line), line
