# SPDX-License-Identifier: Apache-2.0
"""Writes the measured tables into docs/gpu.md, between two marks of the page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import pages
from eulernet_core.whole_files import write_whole_text

BEGIN, END = "<!-- measured by make gpu-all: begin -->", "<!-- measured by make gpu-all: end -->"
TEMPLATE = Path(__file__).with_name("gpu.md.j2")


class PageError(Exception):
    """The page lacks the marks; the message names it."""


def tables(results: Mapping[str, Any]) -> str:
    """The tables as Markdown. Raises: jinja2.UndefinedError for results that lack a part."""
    return pages.render(TEMPLATE, **results).strip()


def write_into(page: Path, text: str) -> None:
    """Replaces what the page has between the marks. Raises: PageError."""
    before, found, rest = page.read_text().partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise PageError(f"{page}: the lines {BEGIN} and {END} are not both there")
    write_whole_text(page, f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
