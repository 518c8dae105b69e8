# SPDX-License-Identifier: Apache-2.0
"""Text in CSV files, after OWASP's "CSV Injection": spreadsheets run cells that begin with certain characters."""

from __future__ import annotations

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # the last four are full-width forms


def formula_safe(text: str) -> str:
    """The text of a cell. An apostrophe, which spreadsheets don't show, goes before a text that would be a formula.

    Numbers don't go through here: they stay numbers.
    """
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
