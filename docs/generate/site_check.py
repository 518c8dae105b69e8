# SPDX-License-Identifier: Apache-2.0
"""Checks a built site: every file that a page links to or loads exists, every anchor too, and nothing is loaded from
another host."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADS = {"img": "src", "script": "src", "source": "src", "iframe": "src", "link": "href"}
_NOT_LOADED = {"canonical", "next", "prev", "alternate", "author"}  # relations of <link> that load nothing


class _Page(HTMLParser):
    """Collects a page's anchors, links and loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Takes one element."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        wanted = _LOADS.get(tag)
        if wanted in values and not _NOT_LOADED & set(values.get("rel", "").split()):
            self.loads.append(values[wanted])


def find_faults(site: Path) -> list[str]:
    """The faults of a built site, one line each."""
    pages = {path: _Page(path.read_text()) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}
    if not pages:
        return [f"{site}: no page"]
    faults = []
    for path, page in pages.items():
        name = path.relative_to(site)
        faults += [f"{name}: loads {load} from another host" for load in page.loads if urlsplit(load).netloc]
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
            if not target.is_file():
                faults.append(f"{name}: {link} does not exist")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                faults.append(f"{name}: {link} has no such anchor")
    return faults
