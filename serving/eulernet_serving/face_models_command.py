# SPDX-License-Identifier: Apache-2.0
"""`eulernet face-models`: fetches the face detector and the face mesh and converts them to ONNX."""

from pathlib import Path

import click


@click.command("face-models")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the models; the user's cache, where all commands look for them, by default.",
)
@click.option(
    "--wheel",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The pinned MediaPipe wheel, already downloaded (for a machine without a network).",
)
def face_models(out: Path | None, wheel: Path | None) -> None:
    """Fetch the face detector and the face mesh and convert them to ONNX."""
    from eulernet_core.shipped import face_models_folder
    from eulernet_serving.face_models.converted import make_face_models
    from eulernet_serving.face_models.wheel_files import FetchError

    try:
        made = make_face_models(out or face_models_folder(), wheel)
    except FetchError as error:
        raise click.ClickException(str(error)) from error
    for path, changed in made.items():
        click.echo(f"{'wrote    ' if changed else 'unchanged'}  {path.stat().st_size / 1000:8.1f} kB  {path}")
