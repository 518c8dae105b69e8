# SPDX-License-Identifier: Apache-2.0
"""Small pieces of Markdown: escaped text, code spans, tables."""

import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([\\<>*_\[\]#~^|])")
_CODE = re.compile(r"(`[^`]+`)")


def escaped(text: str) -> str:
    """Escapes plain text for Markdown; `code` stays code."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(code(part[1:-1]) if part.startswith("`") else _SPECIAL.sub(r"\\\1", part) for part in parts)


def code(text: str) -> str:
    """A code span, also inside a table's cell."""
    return f"<code>{_html(text)}</code>" if "|" in text else f"`{text}`"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table. Cells are Markdown without line breaks."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _html(text: str) -> str:
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "&#124;"), ("*", "&#42;")):
        text = text.replace(character, entity)
    return text
