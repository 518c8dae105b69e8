# SPDX-License-Identifier: Apache-2.0
"""Makes docs/images/explain.webp, what `eulernet explain --twins` draws of the demo's living face.

Run `make demo`, then this file.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import click
from PIL import Image

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
WEIGHTS = "training/weights/eulernet.pt"  # from ROOT: the picture's title shows it
WIDTH_PX, QUALITY = 1600, 70


@click.command()
@click.option(
    "--video", type=click.Path(exists=True, dir_okay=False, path_type=Path), default="out/demo/clips/bona_fide.mp4"
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=FOLDER / "explain.webp")
def main(video: Path, out: Path) -> None:
    """Explain the clip of VIDEO, held still and moved too, and write the picture of all levels to OUT."""
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "explain.png"
        command = [sys.executable, "-m", "eulernet_core", "explain", WEIGHTS, str(video.absolute()), "--twins"]
        subprocess.run([*command, "--out", str(made)], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        with Image.open(made) as picture:
            height_px = round(picture.height * WIDTH_PX / picture.width)
            picture.convert("RGB").resize((WIDTH_PX, height_px)).save(out, quality=QUALITY, method=6)
    click.echo(f"{out}: {out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
