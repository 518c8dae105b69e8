# SPDX-License-Identifier: Apache-2.0
"""The command reference: every command of the group `eulernet.commands`, as click describes it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from inspect import cleandoc

import click

from docs.generate.markdown import code, escaped, table
from eulernet_core.command_root import GROUP, main

_NOTE = re.compile(r"\s*\[([^\[\]]*)\]$")
_INTRODUCTION = """# Command reference

This page is generated from the commands themselves. `eulernet COMMAND --help` prints the same text.
A command needs the packages of one extra, for example `pip install 'eulernet[client]'`.
"""


@dataclass(frozen=True)
class Command:
    """One command. `name`: all words after `eulernet`; `extra`: the extra of the wheel that it needs."""

    name: str
    extra: str
    context: click.Context

    @property
    def command(self) -> click.Command:
        """The click command."""
        return self.context.command

    @property
    def options(self) -> list[click.Option]:
        """The options in the order of the help text, without --help."""
        return [each for each in self.command.params if isinstance(each, click.Option) and not each.hidden]


def find_commands() -> list[Command]:
    """Every command and the commands inside it, by name. Raises: ImportError where an extra is not installed."""
    root = click.Context(main, info_name="eulernet")
    points = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    return [command for point in points for command in _loaded(point, root)]


def _loaded(point: EntryPoint, root: click.Context) -> Iterator[Command]:
    yield from _with_inner(point.load(), point.name, next(iter(point.extras), ""), root)


def _with_inner(command: click.Command, name: str, extra: str, parent: click.Context) -> Iterator[Command]:
    context = click.Context(command, info_name=name.split()[-1], parent=parent)
    yield Command(name, extra, context)
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            if found is not None:
                yield from _with_inner(found, f"{name} {inner}", extra, context)


def command_page(commands: list[Command]) -> str:
    """The page: a table of all commands, then a section for each."""
    rows = [
        [f"[{code(f'eulernet {each.name}')}](#{_anchor(each)})", escaped(each.command.get_short_help_str(200))]
        for each in commands
    ]
    parts = [_INTRODUCTION, table(["command", "purpose"], rows), *(_section(each) for each in commands)]
    return "\n\n".join(parts) + "\n"


def _anchor(command: Command) -> str:
    return "eulernet-" + command.name.replace(" ", "-")


def _section(command: Command) -> str:
    usage = " ".join(["eulernet", command.name, *command.command.collect_usage_pieces(command.context)])
    parts = [f"## eulernet {command.name} {{#{_anchor(command)}}}", f"```text\n{usage}\n```"]
    parts += [_paragraph(each) for each in cleandoc(command.command.help or "").split("\n\n") if each.strip()]
    if command.command.epilog:
        parts.append(_paragraph(cleandoc(command.command.epilog)))
    parts.append(f"Extra: {code(command.extra)}.")
    options = [_option(each, command.context) for each in command.options]
    if options:
        parts.append(table(["option", "meaning", "default and limits"], options))
    return "\n\n".join(parts)


def _paragraph(text: str) -> str:
    """A paragraph of help text. click's \\b marks one whose lines stay as they are."""
    lines = text.splitlines()
    if lines[0].strip() == "\b":
        if any("   " in line.strip() for line in lines):
            return "```text\n" + "\n".join(lines[1:]) + "\n```"
        return "  \n".join(escaped(line) for line in lines[1:])
    return escaped(text)


def _option(option: click.Option, context: click.Context) -> list[str]:
    record = option.get_help_record(context) or (option.opts[0], "")
    text = record[1]
    notes: list[str] = []
    while found := _NOTE.search(text):
        notes = [*found.group(1).split("; "), *notes]
        text = text[: found.start()]
    default = option.to_info_dict().get("default")
    if not any(note.startswith("default") for note in notes) and isinstance(default, (int, float, str)):
        notes = [] if isinstance(default, bool) else [f"default: {default}", *notes]
    if option.required and "required" not in notes:
        notes.append("required")
    if isinstance(option.envvar, str):
        notes.append(f"variable {option.envvar}")
    return [code(record[0]), escaped(text), "; ".join(map(escaped, notes))]
