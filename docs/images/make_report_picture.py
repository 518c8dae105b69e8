# SPDX-License-Identifier: Apache-2.0
"""Makes docs/images/report.webp, a picture of the demo's report: run `make demo`, then this file.

Needs `chromium` on PATH (Debian's package of that name) and Pillow.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

import click
from PIL import Image, ImageChops

FOLDER = Path(__file__).parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WINDOW_PX = (1400, 900)
MARGIN_PX = 16
QUALITY = 80
SIDE_BY_SIDE = """<style>
main { max-width: none; padding: 16px; display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 0 16px; }
header, .scale { grid-column: 1 / -1; }
</style></head>"""


@click.command()
@click.option("--report", type=click.Path(exists=True, dir_okay=False, path_type=Path), default="out/demo/report.html")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=FOLDER / "report.webp")
def main(report: Path, out: Path) -> None:
    """Take a picture of REPORT, its clips side by side, and write it to OUT."""
    with tempfile.TemporaryDirectory() as scratch:
        page, shot = Path(scratch) / "report.html", Path(scratch) / "shot.png"
        page.write_text(report.read_text().replace("</head>", SIDE_BY_SIDE, 1))
        take_picture(page, shot)
        with Image.open(shot) as picture:
            cropped(picture.convert("RGB")).save(out, quality=QUALITY, method=6)
    click.echo(f"{out}: {out.stat().st_size / 1000:.0f} kB")


def take_picture(page: Path, shot: Path) -> None:
    """Writes a PNG of a page as Chromium shows it."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise click.ClickException(f"none of {', '.join(BROWSERS)} is on PATH: install Debian's package chromium")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += ["--disable-background-networking", f"--user-data-dir={shot.parent}/profile"]
    command += ["--window-size={},{}".format(*WINDOW_PX), f"--screenshot={shot}", page.absolute().as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if not shot.is_file():
        raise click.ClickException(f"{browser} took no picture: {done.stderr[-500:]}")


def cropped(picture: Image.Image) -> Image.Image:
    """The picture without the empty page below and beside its content."""
    corner = picture.crop((0, picture.height - 1, 1, picture.height)).resize(picture.size)
    box = ImageChops.difference(picture, corner).getbbox()
    if box is None:
        raise click.ClickException("the report is an empty page")
    left, top, right, bottom = box
    right, bottom = min(right + MARGIN_PX, picture.width), min(bottom + MARGIN_PX, picture.height)
    return picture.crop((max(0, left - MARGIN_PX), max(0, top - MARGIN_PX), right, bottom))


if __name__ == "__main__":
    main()
