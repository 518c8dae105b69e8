# SPDX-License-Identifier: Apache-2.0
"""Search for the largest load that a server sustains: doubling, then bisection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

FINEST = 20  # the search stops at an open interval below 1/20 of the best load found


async def largest_that_holds(holds: Callable[[int], Awaitable[bool]], first: int, most: int) -> int:
    """The largest number from 1 to `most` that `holds`, within 5 %; 0 if 1 does not.

    Args:
        holds: assumed monotonic; never called twice with one number.
        first: number to start with.
        most: upper limit.
    """
    good, bad = 0, most + 1
    number = min(first, most)
    while bad - good > max(1, good // FINEST):
        if await holds(number):
            good = number
        else:
            bad = number
        number = min(2 * good, most) if bad > most else (good + bad) // 2
    return good
