# SPDX-License-Identifier: Apache-2.0
"""The `eulernet` command. Its subcommands are entry points of group `eulernet.commands`, loaded when called.

An entry point may say which extra its command needs: `name = "package.module:command [extra]"`.
"""

from __future__ import annotations

import difflib
import io
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

GROUP = "eulernet.commands"
# For entry points that name no extra: what their package needs.
_EXTRAS = {"eulernet": "train", "eulernet_build": "build", "eulernet_client": "client"}


class NeedsExtraError(click.ClickException):
    """A command whose dependencies are not installed."""

    def __init__(self, command: str, extra: str, module: str) -> None:
        super().__init__(f"`eulernet {command}` needs {module}: run  pip install 'eulernet[{extra}]'")


class LazyGroup(click.Group):
    """A group that knows its commands' names from the installed metadata and imports only the one that is called."""

    def __init__(self, *args: Any, entry_point_group: str = GROUP, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._entry_points = {point.name: point for point in entry_points(group=entry_point_group)}

    def main(self, *args: Any, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            # A file's name that the terminal can't encode is printed with escapes and loses no result.
            if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
                stream.reconfigure(errors="backslashreplace")
        return super().main(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._entry_points)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        point = self._entry_points.get(cmd_name)
        if point is None:
            return None
        try:
            command = point.load()
        except ModuleNotFoundError as error:
            raise needs_extra(point, error) from error
        except (ImportError, AttributeError) as error:
            raise click.ClickException(f"`eulernet {cmd_name}` cannot be loaded: {error}; install it again") from error
        if not isinstance(command, click.Command):
            raise click.ClickException(f"`eulernet {cmd_name}`: {point.value} is not a click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if not name.startswith("-") and name not in self._entry_points and not ctx.resilient_parsing:
            near = difflib.get_close_matches(name, self._entry_points, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"See `{ctx.command_path} --help`."
            raise click.UsageError(f"No such command {name!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            point = self._entry_points.get(ctx.invoked_subcommand or "")
            if point is None:
                raise
            raise needs_extra(point, error) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists all commands, even one that cannot be loaded."""
        rows = []
        for name in self.list_commands(ctx):
            try:
                command = self.get_command(ctx, name)
                text = command.get_short_help_str(formatter.width - 20) if command else ""
            except click.ClickException as error:
                text = f"({error.message})"
            rows.append((name, text))
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def needs_extra(point: EntryPoint, error: ModuleNotFoundError) -> Exception:
    """The error to show for a missing module; the error itself if the module belongs to this project."""
    module = (error.name or "").split(".")[0]
    if not module or module in _EXTRAS:
        return error
    extra = next(iter(point.extras), None) or _EXTRAS.get(point.module.split(".")[0])
    return NeedsExtraError(point.name, extra, module) if extra else error


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`eulernet COMMAND --help` explains a command.",
)
@click.version_option(package_name="eulernet")
def main() -> None:
    """EulerNet: face anti-spoofing for short video, served by Triton."""
