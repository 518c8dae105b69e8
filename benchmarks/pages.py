"""Pages for docs/ from measured results: nobody types a number by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from cycler import cycler
from eulernet_client.loadtest.plots import COLOURS
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.figure import Figure

STYLE: Any = {
    "svg.hashsalt": "eulernet",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=COLOURS),
}


def significant(value: float | None, digits: int = 3) -> str:
    """A number as text with so many digits, thousands separated: 1,230 or 0.0123; a dash for None."""
    if value is None:
        return "–"
    rounded = float(f"{value:.{digits}g}")
    decimals = max(0, digits - len(str(int(abs(rounded)))) if abs(rounded) >= 1 else digits)
    text = f"{rounded:,.{decimals}f}" if abs(rounded) >= 1 else f"{rounded:.{digits}g}"
    return text.rstrip("0").rstrip(".") if "." in text and abs(rounded) < 1 else text


def percent(share: float) -> str:
    """A share of 0 to 1 as whole percent."""
    return f"{100 * share:.0f} %"


def render(template: Path, **values: Any) -> str:
    """A Markdown page. Raises: jinja2.UndefinedError where the results lack what the page tells."""
    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=False,  # Markdown, of our own numbers
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"n": significant, "percent": percent}
    return environment.get_template(template.name).render(**values)


def panels(count: int) -> tuple[Figure, list[Axes]]:
    """A figure with plots beside each other; call it inside `matplotlib.rc_context(STYLE)`."""
    figure = Figure(figsize=(4.8 * count, 3.3), layout="constrained")
    axes = [figure.add_subplot(1, count, number + 1) for number in range(count)]
    for each in axes:
        each.grid(alpha=0.25, linewidth=0.6)
    return figure, axes


def save(figure: Figure, path: Path) -> None:
    """Writes `path`.png and `path`.svg, on white: a page may be dark."""
    figure.savefig(path.with_suffix(".png"), dpi=130, facecolor="white")
    figure.savefig(path.with_suffix(".svg"), facecolor="white", metadata={"Date": None})


def read_json(path: Path) -> Any:
    """What `write_json` wrote. Raises: click.ClickException where there is nothing."""
    if not path.is_file():
        raise click.ClickException(f"{path}: missing; measure first, without --no-measure")
    return json.loads(path.read_text(encoding="utf-8"))


def publish(files: Iterable[Path], docs: Path) -> None:
    """Copies a page and its plots to where the documentation is."""
    docs.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy(file, docs)


def write_json(results: dict[str, Any], path: Path) -> None:
    """All finite, or it is an error."""
    path.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
