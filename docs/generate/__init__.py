# SPDX-License-Identifier: Apache-2.0
"""Builds the documentation site: collects the pages, generates the references from the code, runs Zensical, checks."""
