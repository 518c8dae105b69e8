# SPDX-License-Identifier: Apache-2.0
"""The shared memory that Triton passes pictures through, and whether this machine has enough of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.limits import MAX_ENCODED_BYTES

SHARED_MEMORY = Path("/dev/shm")
COPIES = 5  # of a frame, in the pools of the stages that it passes
MIN_BYTES = 8 << 20  # below it the stages can't start: each begins with 1 MiB
NEEDED_BYTES = MIN_BYTES + COPIES * CLIP_FRAMES * MAX_ENCODED_BYTES  # for one clip of the largest frames


@dataclass(frozen=True)
class Shortage:
    """Too little shared memory; `fatal`: too little to start."""

    free_bytes: int
    needed_bytes: int
    fatal: bool

    def __str__(self) -> str:
        effect = "the server can't start" if self.fatal else "requests with large frames will be refused"
        return (
            f"{SHARED_MEMORY} has {self.free_bytes >> 20} MiB free, the server needs {self.needed_bytes >> 20} MiB: "
            f"{effect}; enlarge it: docker run --shm-size 1g, or mount -o remount,size=1g {SHARED_MEMORY}"
        )


def shared_memory_shortage(folder: Path = SHARED_MEMORY) -> Shortage | None:
    """None where there is enough."""
    stats = os.statvfs(folder)
    free_bytes = stats.f_bavail * stats.f_frsize
    if free_bytes >= NEEDED_BYTES:
        return None
    fatal = free_bytes < MIN_BYTES
    return Shortage(free_bytes, MIN_BYTES if fatal else NEEDED_BYTES, fatal)
