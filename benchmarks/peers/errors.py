# SPDX-License-Identifier: Apache-2.0
"""The benchmark's error."""


class BenchError(Exception):
    """The benchmark stops and reports nothing; the message names cause and remedy."""
