# SPDX-License-Identifier: Apache-2.0
"""`eulernet peers`: graphs and cost of other systems, and one table of all systems."""

from pathlib import Path

import click

FILE = click.Path(dir_okay=False, path_type=Path)
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
timing = click.option("--time/--no-time", "timed", default=True, show_default=True, help="Measure ms a frame.")


@click.group()
def peers() -> None:
    """Other published systems beside EulerNet: export, cost, and the table of the comparison.

    They are trained by `eulernet train peers/NAME` and evaluated by `eulernet evaluate`.
    """


@peers.command()
@click.argument("weights", type=EXISTING_FILE)
@click.option("--out", required=True, type=FILE, help="ONNX file to write.")
def export(weights: Path, out: Path) -> None:
    """Write a system's graph (ONNX): FACE, the crops of a clip's frames, to LIVENESS.

    WEIGHTS: weights.pt of `eulernet train peers/NAME`. Compares the graph with PyTorch first, and writes nothing if the
    score differs. `eulernet evaluate` takes the file.
    """
    from eulernet.learning.checkpoint import CheckpointError
    from eulernet_build.comparison.peer_graph import export_peer
    from eulernet_build.parity import ParityError

    try:
        worst = export_peer(weights, out)
    except (CheckpointError, ParityError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{out}: PyTorch and ONNX Runtime agree within {worst:.1e}")


@peers.command()
@click.argument("recipes", nargs=-1)
@timing
def cost(recipes: tuple[str, ...], timed: bool) -> None:
    """Print parameters, GMACs a frame, and ms a frame of one thread in ONNX Runtime.

    RECIPES: TOML files or shipped recipes; by default EulerNet's and all of peers/ at their published sizes.
    """
    from eulernet.learning.settings import SYSTEMS, Settings, SettingsError, find_recipe, read_settings
    from eulernet.learning.trainer import create_network
    from eulernet_build.comparison.system_cost import system_cost

    try:
        chosen = [read_settings(find_recipe(each)) for each in recipes] or [Settings(system=each) for each in SYSTEMS]
        networks = [create_network(each) for each in chosen]
    except SettingsError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{'system':<44}{'frames':>7}{'parameters':>12}{'GMACs a frame':>15}{'ms a frame':>12}")
    for network in networks:
        found = system_cost(network, timed)
        ms = "–" if found.ms is None else f"{found.ms:.1f}"
        click.echo(f"{found.system:<44}{found.frames:>7}{found.parameters:>12,}{found.giga_macs:>15.3f}{ms:>12}")


@peers.command()
@click.argument("evaluations", nargs=-1, required=True, type=EXISTING_FOLDER)
@click.option("--csv", "csv_file", type=FILE, help="Also write the rows to this CSV; rates are shares, 0 to 1.")
@click.option("--markdown", type=FILE, help="Also write the tables to this file.")
@timing
def table(evaluations: tuple[Path, ...], csv_file: Path | None, markdown: Path | None, timed: bool) -> None:
    """Print one table of several systems: cost, training budget, and errors.

    EVALUATIONS: folders of `eulernet evaluate CHECKPOINT --out FOLDER`, one a row, all of the same data.
    """
    from eulernet_build.comparison.comparison_table import ComparisonError, rows_of, to_csv, to_markdown
    from eulernet_core.whole_files import write_whole_text

    try:
        rows = rows_of(evaluations, timed)
    except ComparisonError as error:
        raise click.ClickException(str(error)) from error
    click.echo(to_markdown(rows), nl=False)
    for path, text in ((csv_file, to_csv), (markdown, to_markdown)):
        if path:
            write_whole_text(path, text(rows))
            click.echo(f"written: {path}")
