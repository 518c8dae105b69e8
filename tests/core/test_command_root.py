# SPDX-License-Identifier: Apache-2.0
"""The root of the `eulernet` command: lazy subcommands, missing extras, unknown names."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eulernet_core.command_root import LazyGroup, main, needs_extra


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def group_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **modules: str) -> LazyGroup:
    """A group over an installed distribution with the entry points `NAME = lazy_demo_NAME:command [train]`."""
    info = tmp_path / "lazy_demo-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lazy-demo\nVersion: 1\n")
    lines = [f"{name} = lazy_demo_{name}:command [train]" for name in modules]
    (info / "entry_points.txt").write_text("[lazy.demo]\n" + "\n".join(lines) + "\n")
    for name, text in modules.items():
        (tmp_path / f"lazy_demo_{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, f"lazy_demo_{name}", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    return LazyGroup("demo", entry_point_group="lazy.demo")


FINE = "import click\n@click.command()\ndef command():\n    '''Does {0}.'''\n    click.echo('did {0}')\n"
LATE = "import click\n@click.command()\ndef command():\n    '''Comes late.'''\n    import no_such_module.inside\n"


def test_commands_are_listed() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for name in ("score", "status"):
        assert f"  {name} " in result.output


def test_only_the_called_command_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = group_of(tmp_path, monkeypatch, one=FINE.format("one"), two="raise SystemError('must not be loaded')")
    result = CliRunner().invoke(group, ["one"])
    assert (result.exit_code, result.output) == (0, "did one\n")
    assert "lazy_demo_two" not in sys.modules


def test_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = group_of(
        tmp_path, monkeypatch, early="import no_such_module\n", late=LATE, hollow="", fine=FINE.format("it")
    )
    for name in ("early", "late"):
        result = CliRunner().invoke(group, [name])
        assert result.exit_code == 1
        for field in (name, "no_such_module", "pip install 'eulernet[train]'"):
            assert field in result.output
    assert "eulernet hollow" in CliRunner().invoke(group, ["hollow"]).output
    listing = CliRunner().invoke(group, ["--help"])
    assert listing.exit_code == 0, "one broken command does not prevent the list"
    assert "Does it." in listing.output
    assert "pip install" in listing.output


@pytest.mark.parametrize(
    ("value", "extra"),
    [
        ("eulernet_client.score_command:score", "client"),
        ("eulernet_build.export_command:export", "build"),
        ("eulernet_build.export_command:serve [serve]", "serve"),
        ("eulernet.summary:summary", "train"),
    ],
)
def test_extra_of_a_package(value: str, extra: str) -> None:
    point = EntryPoint("x", value, "eulernet.commands")
    assert f"eulernet[{extra}]" in str(needs_extra(point, ModuleNotFoundError("no", name="torch.nn")))
    own = ModuleNotFoundError("no", name="eulernet_build.gone")
    assert needs_extra(point, own) is own, "a missing module of this project is a bug, not a missing extra"


def test_unknown_command_suggests() -> None:
    result = run("scroe", "x.mp4")
    assert result.exit_code == 2
    assert "'scroe'" in result.output
    assert "'score'" in result.output


def test_version() -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.output.startswith("eulernet, version ") or "version" in result.output
