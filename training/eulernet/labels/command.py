"""`eulernet labels-picture`: see the training targets, and what they cost."""

from pathlib import Path
from typing import Any

import click


@click.command("labels-picture")
@click.argument("pictures", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("out/labels.png"),
    show_default=True,
    help="Picture to write.",
)
@click.option(
    "--face-models",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/face_models"),
    show_default=True,
    help="Folder of face_detector.onnx and face_mesh.onnx (`eulernet face-models`).",
)
def labels_picture(pictures: tuple[Path, ...], out: Path, face_models: Path) -> None:
    """Draw the three kinds of labels of some faces.

    PICTURES: photographs with a face each; without any, two portraits that come with the installed libraries.
    """
    import cv2
    import numpy as np

    from eulernet.faces import FaceFinder, FaceModelsError
    from eulernet.labels.picture import draw_labels, photographs, times_ms, variants

    try:
        finder = FaceFinder(face_models)
    except FaceModelsError as error:
        raise click.ClickException(str(error)) from error
    shown: dict[str, np.ndarray[Any, np.dtype[np.uint8]]] = {}
    for path in pictures:
        picture = cv2.imread(str(path))
        if picture is None:
            raise click.ClickException(f"{path}: not a picture that can be read; give a JPEG or PNG")
        shown[path.name] = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
    shown = shown or variants()
    missed = draw_labels(shown, finder, out)
    for name in missed:
        click.echo(f"{name}: no face found", err=True)
    if len(missed) == len(shown):
        raise click.ClickException(f"{out}: not written, no face in any picture; the face must take 15 % of the width")
    click.echo(f"{out}: {len(shown) - len(missed)} faces")
    for name, taken_ms in times_ms(photographs()["astronaut"], finder).items():
        click.echo(f"  {name:<24}{taken_ms:7.2f} ms")
    click.echo(
        "  A depth map from a 3-D reconstruction, which the slides call slow, is not among these: ours takes the"
    )
    click.echo("  landmarks' own z, so that it costs what the location map costs.")
