# SPDX-License-Identifier: Apache-2.0
"""Documentation pages, plots and tables made from measured results."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from cycler import cycler
from jinja2 import FileSystemLoader
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eulernet_core.html_pages import strict_environment
from eulernet_core.whole_files import write_whole_text
from eulernet_loadtest.loadtest_report import csv_text
from eulernet_loadtest.plots import COLOURS, PLAIN_STYLE

STYLE: Any = PLAIN_STYLE | {"axes.titlesize": 9, "axes.prop_cycle": cycler(color=COLOURS)}
FOLDER = click.Path(file_okay=False, path_type=Path)


def measuring_options(name: str, seconds: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--out`, `--docs`, `--seconds`, `--rounds` and `--no-measure` of a benchmark that renders the page `name`.md.

    Args:
        seconds: default of `--seconds`.
    """
    options = (
        click.option(
            "--out", type=FOLDER, default=Path("out", name), show_default=True, help="Folder for all results."
        ),
        click.option("--docs", type=FOLDER, help=f"Folder for a copy of {name}.md and its plots."),
        click.option(
            "--seconds",
            type=click.FloatRange(min=0.5),
            default=seconds,
            show_default=True,
            help="Measured seconds of each load.",
        ),
        click.option(
            "--rounds", type=click.IntRange(min=1), default=2, show_default=True, help="Measurements of each load."
        ),
        click.option("--no-measure", is_flag=True, help="Render the page from results.json in --out."),
    )

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def significant(value: float | None, digits: int = 3) -> str:
    """A number with `digits` significant digits and thousands separators: 1,230 or 0.0123; a dash for None."""
    if value is None:
        return "–"
    rounded = float(f"{value:.{digits}g}")
    decimals = max(0, digits - len(str(int(abs(rounded)))) if abs(rounded) >= 1 else digits)
    text = f"{rounded:,.{decimals}f}" if abs(rounded) >= 1 else f"{rounded:.{digits}g}"
    return text.rstrip("0").rstrip(".") if "." in text and abs(rounded) < 1 else text


def percent(share: float) -> str:
    """A share of 0 to 1 as whole percent."""
    return f"{100 * share:.0f} %"


def render(template: Path, filters: Mapping[str, Callable[..., str]] | None = None, **values: Any) -> str:
    """A Markdown page. Raises: jinja2.UndefinedError if the template uses a value that is missing."""
    environment = strict_environment(FileSystemLoader([template.parent, Path(__file__).parent]), autoescape=False)
    environment.filters |= {"n": significant, "percent": percent, **(filters or {})}
    return environment.get_template(template.name).render(**values)


def panels(count: int) -> tuple[Figure, list[Axes]]:
    """A figure with `count` plots side by side; for use inside `matplotlib.rc_context(STYLE)`."""
    figure = Figure(figsize=(4.8 * count, 3.3), layout="constrained")
    axes = [figure.add_subplot(1, count, number + 1) for number in range(count)]
    for each in axes:
        each.grid(alpha=0.25, linewidth=0.6)
    return figure, axes


def save(figure: Figure, path: Path) -> None:
    """Writes `path`.png and `path`.svg on a white background, for light and dark pages."""
    figure.savefig(path.with_suffix(".png"), dpi=130, facecolor="white")
    figure.savefig(path.with_suffix(".svg"), facecolor="white", metadata={"Date": None})


def publish(files: Iterable[Path], docs: Path) -> None:
    """Copies a page and its plots into the documentation's folder."""
    docs.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy(file, docs)


def write_json(results: dict[str, Any], path: Path) -> None:
    """Writes results. Raises: ValueError for a number that is not finite."""
    write_whole_text(path, json.dumps(results, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Results that `write_json` wrote. Raises: click.ClickException if the file is missing."""
    if not path.is_file():
        raise click.ClickException(f"{path}: missing; measure first, without --no-measure")
    return json.loads(path.read_text(encoding="utf-8"))


def write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes a table; its columns are the first row's keys whose values are plain."""
    columns = [key for key, value in rows[0].items() if not isinstance(value, dict)]
    write_whole_text(path, csv_text(rows, columns))


def say(text: str) -> None:
    """Prints a line of progress to standard error, with the time of day."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)
