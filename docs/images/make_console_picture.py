# SPDX-License-Identifier: Apache-2.0
"""Makes docs/images/console.png, a picture of the console: run `make demo` and `make console`, then this file.

Needs `chromium` on PATH (Debian's package of that name), Playwright's Python package and Pillow.
"""

import io
import shutil
from pathlib import Path

import click
from PIL import Image
from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).parent
WINDOW_PX = (1200, 940)
WIDTH_PX = 1000
COLOURS = 256
SECONDS = 7  # of the curve
FRAMES = 6
TIMEOUT_MS = 120_000


@click.command()
@click.option("--address", default="http://127.0.0.1:8004/", show_default=True, help="Address of the console's page.")
@click.option(
    "--video", type=click.Path(exists=True, dir_okay=False, path_type=Path), default="out/demo/clips/bona_fide.mp4"
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=FOLDER / "console.png")
def main(address: str, video: Path, out: Path) -> None:
    """Play VIDEO in the console and write a picture of the page to OUT."""
    browser = shutil.which("chromium")
    if browser is None:
        raise click.ClickException("chromium is not on PATH: install Debian's package chromium")
    with (
        sync_playwright() as driver,
        driver.chromium.launch(executable_path=browser, args=["--disable-gpu"], chromium_sandbox=False) as chromium,
    ):
        width, height = WINDOW_PX
        page = chromium.new_page(viewport={"width": width, "height": height}, color_scheme="light")
        page.set_default_timeout(TIMEOUT_MS)
        page.goto(address)
        page.wait_for_selector("#server-state[data-state=up]")
        play(page, video)
        shot = page.screenshot()
    with Image.open(io.BytesIO(shot)) as picture:
        size = WIDTH_PX, round(WIDTH_PX * picture.height / picture.width)
        small = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        small.quantize(COLOURS, dither=Image.Dither.NONE).save(out, optimize=True)
    click.echo(f"{out}: {out.stat().st_size / 1000:.0f} kB")


def play(page: Page, video: Path) -> None:
    """Plays a video in a loop until the curve is filled."""
    page.evaluate("() => { document.querySelector('#video').loop = true; }")
    page.set_input_files("#video-file", video)
    page.wait_for_function(f"() => Number(document.querySelector('#frames-used').textContent) >= {FRAMES}")
    page.wait_for_timeout(1000 * SECONDS)


if __name__ == "__main__":
    main()
