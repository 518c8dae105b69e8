"""The largest load that still holds: doubled until it breaks, then halved in between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

FINEST = 20  # the search ends when what is left open is below a 20th of what holds


async def largest_that_holds(holds: Callable[[int], Awaitable[bool]], first: int, most: int) -> int:
    """The largest number from 1 to `most` for which `holds` is true, to 5 %; 0 where 1 does not hold.

    Takes it that whatever lies below one that holds, holds too. Asks for no number twice.
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
