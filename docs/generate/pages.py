# SPDX-License-Identifier: Apache-2.0
"""Collects the site's pages in one folder: pages of docs/, other files of the clone, generated references."""

import posixpath
import re
import shutil
from pathlib import Path

from docs.generate.command_reference import command_page, find_commands
from docs.generate.configuration_reference import configuration_page
from docs.generate.error_reference import error_page, find_errors
from eulernet_core.whole_files import write_whole_text

ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / "docs" / "zensical.toml"
# Pages whose source has another reader as well, by their path in the site.
INCLUDED = {
    "model_card.md": "training/weights/README.md",
    "ablation.md": "training/results/ablation.md",
    "plugin.md": "plugins/diirf/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
ASSETS = (".svg", ".png", ".webp", ".css")
_LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s]+)(\))")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_DRAWING = re.compile(r"^!\[([^\]]*)\]\((images/[\w.]+\.svg)\)$", re.MULTILINE)


class PageError(ValueError):
    """A page that the site cannot take; the message names the file and the link."""


def collect(out: Path) -> None:
    """Writes all pages into `out`, an empty folder. Raises: PageError for a link to a file outside of the site."""
    for path in sorted((ROOT / "docs").rglob("*")):
        if path.suffix == ".md":
            page(path, path.relative_to(ROOT / "docs").as_posix(), out)
        elif path.suffix in ASSETS:
            target = out / path.relative_to(ROOT / "docs")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    for name, source in INCLUDED.items():
        page(ROOT / source, name, out)
    write_whole_text(out / "reference" / "commands.md", command_page(find_commands()))
    write_whole_text(out / "reference" / "configuration.md", configuration_page())
    write_whole_text(out / "reference" / "errors.md", error_page(find_errors()))


def page(source: Path, name: str, out: Path) -> None:
    """Copies one page. Its links to other files of the clone become links inside the site."""
    folder = source.parent.relative_to(ROOT).as_posix()
    text = _DRAWING.sub(lambda found: _inline(source.parent / found.group(2), found.group(1)), source.read_text())
    written, last = [], 0
    for fence in [*_FENCE.finditer(text), None]:
        prose = text[last : fence.start() if fence else len(text)]
        written.append(_LINK.sub(lambda found: found[1] + _site_link(found[2], folder, name) + found[3], prose))
        if fence:
            written.append(fence.group())
            last = fence.end()
    write_whole_text(out / name, "".join(written))


def _site_link(target: str, folder: str, name: str) -> str:
    """A link of a page, as the page `name` of the site has it.

    Args:
        target: the link in the source.
        folder: the source's folder in the clone.
        name: the page's path in the site.
    """
    path, hash_, anchor = target.partition("#")
    if not path or "://" in path or path.startswith("mailto:"):
        return target
    in_clone = posixpath.normpath(posixpath.join(folder, path))
    sites = {source: page for page, source in INCLUDED.items()}
    if in_clone in sites:
        in_site = sites[in_clone]
    elif in_clone.startswith("docs/"):
        in_site = in_clone.removeprefix("docs/")
    else:
        raise PageError(f"{folder}/…, page {name}: {target} is not part of the site; name the file as code instead")
    return posixpath.relpath(in_site, posixpath.dirname(name) or ".") + hash_ + anchor


def _inline(path: Path, description: str) -> str:
    """A drawing as part of the page, in the colours of the page's palette."""
    svg = re.sub(r"<\?xml.*?\?>|<!--.*?-->|<style>.*?</style>", "", path.read_text(), flags=re.DOTALL)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{description}" ', 1)
    return '<div class="drawing">' + re.sub(r"\n\s*", "", svg) + "</div>"
