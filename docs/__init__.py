# SPDX-License-Identifier: Apache-2.0
"""The documentation: pages in Markdown, and the package that builds the site from them."""
