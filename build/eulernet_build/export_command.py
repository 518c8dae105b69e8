# SPDX-License-Identifier: Apache-2.0
"""`eulernet export`: writes the graphs that the model repository serves."""

from pathlib import Path

import click


@click.command()
@click.argument("weights", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--repository",
    type=click.Path(file_okay=False, path_type=Path),
    show_default="the clone's",
    help="Model repository to write into.",
)
def export(weights: Path | None, repository: Path | None) -> None:
    """Write the step graph and the clip graph (ONNX) of the model repository.

    WEIGHTS: weights.pt of `eulernet train`; the shipped weights by default.

    Compares both graphs with PyTorch in ONNX Runtime and OpenVINO first, and writes nothing if an output differs.
    """
    try:
        from eulernet.learning.checkpoint import CheckpointError
        from eulernet_build.export import ParityError, export_checkpoint
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} is not installed: pip install -c constraints.txt -e '.[build]'"
        ) from None
    from eulernet_core import shipped

    try:
        repository = repository or shipped.clone("model_repository")
        label, worst = export_checkpoint(weights or shipped.weights(), repository)
    except (shipped.NotInThisInstallationError, CheckpointError, ParityError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{repository}: weights {label}; PyTorch, ONNX Runtime and OpenVINO agree within {worst:.1e}")
