# SPDX-License-Identifier: Apache-2.0
"""The generated references are complete: every command, option, parameter, setting, variable, error and flag."""

import dataclasses
import re
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest

import eulernet_client.errors
from docs.generate.command_reference import command_page, find_commands
from docs.generate.configuration_reference import VARIABLES, configuration_page, served_models
from docs.generate.error_reference import error_page, find_errors, find_others
from docs.generate.markdown import code, escaped, table
from eulernet.learning.settings import Settings
from eulernet_core.command_root import GROUP
from eulernet_core.errors import EulerNetError
from eulernet_core.status import Status

ROOT = Path(__file__).parents[2]
SOURCES = ("core", "serving", "client", "build", "training")


def sections(page: str, level: int) -> dict[str, str]:
    """The text under each heading of a level, by the heading without its anchor."""
    parts = re.split(rf"^{'#' * level} (.+)$", page, flags=re.MULTILINE)[1:]
    return {re.sub(r" \{#.*\}$", "", heading): text for heading, text in zip(parts[::2], parts[1::2], strict=True)}


def first_cells(text: str) -> list[str]:
    """The first cell of each row of the first table, without its header."""
    rows = text[text.index("\n| ") :].strip().partition("\n\n")[0]
    return re.findall(r"^\| `?([^`|]*?)`? \|", rows, re.MULTILINE)[2:]


@pytest.fixture(scope="module")
def command_sections() -> dict[str, str]:
    return sections(command_page(find_commands()), 2)


@pytest.mark.parametrize("point", sorted(entry_points(group=GROUP)), ids=lambda point: point.name)
def test_command_reference_has_every_command_and_option(point, command_sections):
    command = point.load()
    inner = list(command.commands.values()) if isinstance(command, click.Group) else []
    for name, each in [(point.name, command), *((f"{point.name} {each.name}", each) for each in inner)]:
        text = command_sections[f"eulernet {name}"]
        assert escaped((each.help or "").strip().splitlines()[0])[:40] in " ".join(text.split()), name
        options = [option for option in each.params if isinstance(option, click.Option)]
        listed = " ".join(re.findall(r"^\| (?:`|<code>)(.*?)(?:`|</code>) \|", text, re.MULTILINE))
        for option in options:
            assert set(option.opts) <= set(re.findall(r"[^\s/,]+", listed)), (name, option.opts)
        for argument in each.params:
            if isinstance(argument, click.Argument):
                assert argument.make_metavar(click.Context(each)) in text, (name, argument.name)


def test_command_reference_shows_defaults_and_limits(command_sections):
    row = next(line for line in command_sections["eulernet score"].splitlines() if "--timeout-s" in line)
    assert "default: 30.0" in row
    assert re.search(r"--grpc-port[^\n]*default: 8001", command_sections["eulernet serve"])


def test_command_reference_has_nothing_else(command_sections):
    commands = {point.name for point in entry_points(group=GROUP)}
    assert {heading.split()[1] for heading in command_sections} == commands


def test_configuration_reference_has_every_parameter_of_every_served_model():
    parts = sections(configuration_page(), 3)
    models = served_models()
    assert {model.name for model in models} == {
        path.parent.name for path in ROOT.glob("model_repository/*/config.pbtxt")
    }
    for model in models:
        embedded = model.embedded.parameters if model.embedded else {}
        given = {*embedded, *model.production.parameters} - {"weights"}
        if model.settings is None:
            assert not given, model.name
            continue
        fields = [each.name for each in dataclasses.fields(model.settings)]
        assert given <= set(fields)
        assert first_cells(parts[model.name]) == fields
        for name in given & set(embedded):
            value = embedded[name].string_value
            assert re.search(rf"^\| `{name}` \| [^|]* \| `{re.escape(value)}` \|", parts[model.name], re.MULTILINE)


def test_configuration_reference_has_every_setting_of_a_recipe():
    parts = sections(configuration_page(), 3)
    defaults = Settings()
    for section in dataclasses.fields(Settings):
        value = getattr(defaults, section.name)
        if dataclasses.is_dataclass(value):
            assert first_cells(parts[f"[{section.name}]"]) == [each.name for each in dataclasses.fields(value)]
        else:
            assert f"`{section.name}` | `{value}`" in parts["Outside of any section"]


def test_configuration_reference_explains_every_setting():
    page = configuration_page().partition("### Batching and instances")
    rows = [line for part in (page[0], page[2]) for line in part.splitlines() if line.startswith("| `")]
    assert [row for row in rows if row.rstrip(" |").endswith("|") or row.endswith("|  |")] == []


def test_configuration_reference_has_every_environment_variable():
    text = "\n".join(path.read_text() for folder in SOURCES for path in (ROOT / folder).rglob("*.py"))
    used = set(re.findall(r"\b(?:EULERNET|XDG)_[A-Z_]+\b", text))
    assert used == set(VARIABLES)
    listed = first_cells(configuration_page().partition("## Environment variables")[2])
    assert listed == list(VARIABLES)


def test_error_reference_has_every_exception():
    def below(kind: type) -> set[type]:
        return {kind}.union(*(below(each) for each in kind.__subclasses__()))

    ours = {
        each for each in below(EulerNetError) if each.__module__.split(".")[0] in ("eulernet_client", "eulernet_core")
    }
    assert set(find_errors()) == ours
    rows = first_cells(sections(error_page(find_errors()), 2)["Exceptions"])
    assert sorted(rows) == sorted(each.__name__ for each in ours)
    assert {each.__name__ for each in ours} >= set(eulernet_client.errors.__all__) - {"EulerNetError"}
    for error in ours:
        assert error.__doc__, error


def test_error_reference_has_the_exceptions_of_all_packages():
    names = {
        name
        for folder in SOURCES
        for path in (ROOT / folder).rglob("*.py")
        for name in re.findall(r"^class ([A-Z]\w*Error)\(", path.read_text(), re.MULTILINE)
    }
    page = error_page(find_errors())
    assert {name for name in names if f"| `{name}` |" not in page} == set()
    assert all(text for _, _, text in find_others())


def test_error_reference_has_every_status_flag():
    rows = sections(error_page(find_errors()), 2)["STATUS flags"]
    for flag in (Status.OK, *Status):
        assert re.search(rf"^\| {int(flag)} \| `{flag.name}` \| \S", rows, re.MULTILINE), flag


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a `b|c` *d*", r"a <code>b&#124;c</code> \*d\*"),
        ("[x] <y>\n z", r"\[x\] \<y\> z"),
        ("`a_b` c_d", r"`a_b` c\_d"),
    ],
)
def test_text_is_escaped(text, expected):
    assert escaped(text) == expected


def test_a_bar_does_not_end_a_cell():
    assert table(["a"], [[code("cpu|gpu")]]).splitlines()[-1].count("|") == 2
