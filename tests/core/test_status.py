# SPDX-License-Identifier: Apache-2.0
"""The STATUS flags of a frame."""

from __future__ import annotations

import pytest

from eulernet_core.status import Status


@pytest.mark.parametrize(
    ("status", "usable", "restarted", "label"),
    [
        (0, True, False, "OK"),
        (1, True, False, "SEVERAL_FACES"),
        (2, True, True, "RELOCATED"),
        (3, True, True, "SEVERAL_FACES|RELOCATED"),
        (4, False, False, "NO_FACE"),
        (8, False, False, "UNDECODABLE"),
        (16, False, False, "TOO_LARGE"),
        (6, False, False, "RELOCATED|NO_FACE"),
        (34, True, True, "RELOCATED|SMALL_FACE"),
        (200, False, False, "UNDECODABLE|DEGRADED|REPEATED"),
        (257, True, False, "SEVERAL_FACES|256"),
    ],
)
def test_status(status: int, usable: bool, restarted: bool, label: str) -> None:
    assert (Status(status).usable, Status(status).restarted, Status(status).label) == (usable, restarted, label)
