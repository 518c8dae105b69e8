# SPDX-License-Identifier: Apache-2.0
"""The site builds strictly; a broken link, a missing anchor or a load from another host is a fault."""

import importlib.util
from pathlib import Path

import click
import pytest

from docs.generate import pages
from docs.generate.__main__ import build
from docs.generate.site_check import find_faults

needs_zensical = pytest.mark.skipif(
    importlib.util.find_spec("zensical") is None, reason="zensical is missing: it needs Python 3.11 or newer"
)
PAGE = '<html><h2 id="here">x</h2><img src="a.svg"><a href="other.html#there">y</a></html>'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A small site without a fault."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "index.html").write_text(PAGE)
    (folder / "other.html").write_text(
        '<p id="there"><a href="index.html#here">z</a><a href="https://x.example/">e</a>'
    )
    (folder / "a.svg").write_text("<svg/>")
    return folder


@needs_zensical
def test_the_site_builds(tmp_path):
    site = tmp_path / "build" / "site"
    site.mkdir(parents=True)
    build(site)
    names = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    expected = {"index", "quick_start", "how_it_works", "client", "operations", "gpu", "training", "architecture"}
    expected |= {"throughput", "peers", "scaling", "quality", "tuning", "model_card", "plugin", "contributing"}
    expected |= {"reference/commands", "reference/configuration", "reference/errors"}
    assert {f"{name}.html" for name in expected} <= names
    assert "DIIRFGate" in (site / "plugin.html").read_text()
    assert "<svg" in (site / "architecture.html").read_text()


@needs_zensical
def test_a_broken_link_fails_the_build(tmp_path, monkeypatch, capfd):
    clone = tmp_path / "clone"
    (clone / "docs").mkdir(parents=True)
    (clone / "docs" / "index.md").write_text("# x\n\n[gone](gone.md)\n")
    monkeypatch.setattr(pages, "ROOT", clone)
    monkeypatch.setattr(pages, "INCLUDED", {})
    site = tmp_path / "build" / "site"
    site.mkdir(parents=True)
    with pytest.raises(click.ClickException, match="Zensical"):
        build(site)
    assert "page does not exist" in capfd.readouterr().err


def test_a_good_site_has_no_faults(site):
    assert find_faults(site) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("other.html#there", "other.html#gone", "index.html: other.html#gone has no such anchor"),
        ("other.html#there", "gone.html", "index.html: gone.html does not exist"),
        ("a.svg", "b.svg", "index.html: b.svg does not exist"),
        ("a.svg", "https://x.example/a.svg", "index.html: loads https://x.example/a.svg from another host"),
        ("<h2", '<script src="//x.example/a.js"></script><h2', "index.html: loads //x.example/a.js from another host"),
        (
            "<h2",
            '<link rel="stylesheet" href="https://x.example/a.css"><h2',
            "index.html: loads https://x.example/a.css",
        ),
    ],
)
def test_faults_are_named(site, old, new, fault):
    (site / "index.html").write_text(PAGE.replace(old, new))
    assert any(each.startswith(fault) for each in find_faults(site))


def test_an_empty_folder_is_a_fault(tmp_path):
    assert find_faults(tmp_path) == [f"{tmp_path}: no page"]


@pytest.mark.parametrize(
    ("source", "name", "text", "expected"),
    [
        ("docs/gpu.md", "gpu.md", "[p](../plugins/diirf/README.md#a)", "[p](plugin.md#a)"),
        ("CONTRIBUTING.md", "contributing.md", "[a](docs/architecture.md#b)", "[a](architecture.md#b)"),
        (
            "docs/index.md",
            "index.md",
            "[x](https://x.example/y.md) [h](#here)",
            "[x](https://x.example/y.md) [h](#here)",
        ),
        ("docs/index.md", "index.md", "```text\n[x](gone.py)\n```\n", "```text\n[x](gone.py)\n```\n"),
    ],
)
def test_links_between_files_become_links_of_the_site(tmp_path, monkeypatch, source, name, text, expected):
    path = tmp_path / source
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    pages.page(path, name, tmp_path / "out")
    assert (tmp_path / "out" / name).read_text() == expected


def test_a_link_to_a_source_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("[code](../core/status.py)")
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    with pytest.raises(pages.PageError, match=r"index\.md.*status\.py"):
        pages.page(tmp_path / "docs" / "index.md", "index.md", tmp_path / "out")
