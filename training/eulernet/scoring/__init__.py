# SPDX-License-Identifier: Apache-2.0
"""Scores data sets with a checkpoint, an exported graph or a running server."""
