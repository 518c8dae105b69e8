"""`eulernet face-models`: fetch and convert the face detector and the face mesh."""

from pathlib import Path

import click


@click.command("face-models")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/face_models"),
    show_default=True,
    help="Folder for the models.",
)
@click.option(
    "--wheel",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The pinned MediaPipe wheel, already downloaded (for machines without network).",
)
def face_models(out: Path, wheel: Path | None) -> None:
    """Fetch the face detector and the face mesh and convert them to ONNX."""
    from eulernet_build.face_models.fetch import FetchError
    from eulernet_build.face_models.models import make_face_models

    try:
        made = make_face_models(out, wheel)
    except FetchError as error:
        raise click.ClickException(str(error)) from error
    for path, changed in made.items():
        click.echo(f"{'wrote    ' if changed else 'unchanged'}  {path.stat().st_size / 1000:8.1f} kB  {path}")
