# SPDX-License-Identifier: Apache-2.0
"""Jinja environments for the HTML and Markdown reports. A template that uses an undefined variable raises an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import BaseLoader, Environment


def html_environment(package: str) -> Environment:
    """Environment for the HTML templates in a package's folder `templates`; values are escaped.

    Args:
        package: importable name, such as `eulernet_client`.
    """
    from jinja2 import PackageLoader

    return strict_environment(PackageLoader(package), autoescape=True)


def strict_environment(loader: BaseLoader, *, autoescape: bool) -> Environment:
    """Environment whose templates may not use undefined variables; block tags leave no blank lines.

    Args:
        loader: finds the templates.
        autoescape: escape values for HTML; False for Markdown.
    """
    from jinja2 import Environment, StrictUndefined

    return Environment(
        loader=loader,
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=not autoescape,
    )
