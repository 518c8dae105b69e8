# SPDX-License-Identifier: Apache-2.0
"""`eulernet labels-picture`: a picture of the training targets, and the time that they take."""

from pathlib import Path
from typing import Any

import click

from eulernet.command_options import EXISTING_FILE, FILE, face_models_option


@click.command("labels-picture")
@click.argument("pictures", nargs=-1, type=EXISTING_FILE)
@click.option("--out", type=FILE, default="out/labels.png", show_default=True, help="Picture to write.")
@face_models_option
def labels_picture(pictures: tuple[Path, ...], out: Path, face_models: Path) -> None:
    """Draw the three kinds of labels of faces.

    PICTURES: photographs with one face each.  [two portraits from the installed libraries]
    """
    import cv2
    import numpy as np

    from eulernet.faces import FaceFinder, FaceModelsError
    from eulernet.labels.labels_picture import draw_labels, photographs, times_ms, variants
    from eulernet_core.limits import FACE_TOO_SMALL

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
        raise click.ClickException(f"{out}: not written, no face in any picture: {FACE_TOO_SMALL}")
    click.echo(f"{out}: {len(shown) - len(missed)} faces")
    for name, taken_ms in times_ms(photographs()["astronaut"], finder).items():
        click.echo(f"  {name:<24}{taken_ms:7.2f} ms")
    click.echo(
        "  The depth map is made from the landmarks' z, so it takes as long as the location map; the slides call depth"
    )
    click.echo("  maps slow because theirs are made by a 3-D reconstruction.")
