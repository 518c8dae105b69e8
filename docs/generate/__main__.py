# SPDX-License-Identifier: Apache-2.0
"""`python -m docs.generate`: builds the documentation site and fails on any broken link."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import click

from docs.generate.pages import CONFIGURATION, PageError, collect
from docs.generate.site_check import find_faults
from eulernet_core.whole_files import replace_folder


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default="out/docs", show_default=True)
def main(out: Path) -> None:
    """Build the documentation site in OUT; open OUT/index.html in a browser."""
    try:
        replace_folder(out.absolute(), build)
    except PageError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{out}/index.html")


def build(site: Path) -> None:
    """Builds the site in an empty folder. Raises: click.ClickException naming each fault."""
    if importlib.util.find_spec("zensical") is None:
        raise click.ClickException("Zensical is missing: run  pip install '.[docs]'  with Python 3.11 or newer")
    source = site.parent / "source"
    source.mkdir()
    collect(source / "pages")
    shutil.copyfile(CONFIGURATION, source / CONFIGURATION.name)
    done = subprocess.run([sys.executable, "-m", "zensical", "build", "--strict", "--clean"], cwd=source, check=False)
    if done.returncode != 0:
        raise click.ClickException("Zensical found faults in the pages; see above")
    shutil.copytree(source / "site", site, dirs_exist_ok=True)
    faults = find_faults(site)
    if faults:
        raise click.ClickException("\n".join(["the site has faults:", *faults]))


if __name__ == "__main__":
    main()
