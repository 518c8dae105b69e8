# SPDX-License-Identifier: Apache-2.0
"""Sizes of a simulated data set."""

from dataclasses import dataclass, replace

from eulernet.datasets.oulu import USERS
from eulernet.datasets.records import Split

FPS = 30.0  # of the cameras, unless a preset has another rate


@dataclass(frozen=True)
class Preset:
    """Sizes of a data set, and the simulator's version.

    Attributes:
        users: default number.
        height_px: of a picture; from version 4 on the largest height.
        width_px: of a picture; from version 4 on the largest width.
        frames: per video.
        version: see `conditions`.
        fps: frames/s of the camera.
    """

    users: int
    height_px: int
    width_px: int
    frames: int
    version: int = 3
    fps: float = FPS

    def with_frames(self, frames: int) -> "Preset":
        """The same preset with videos of another length."""
        return replace(self, frames=frames)


PRESETS = {
    "tiny": Preset(users=3, height_px=512, width_px=384, frames=12),
    "small": Preset(users=22, height_px=512, width_px=384, frames=20),
    "full": Preset(users=55, height_px=640, width_px=480, frames=60, version=4),
}
FEWEST_USERS = 3


def split_users(users: int) -> dict[Split, list[int]]:
    """User numbers by split, in the original's proportions 20/15/20 and in its ranges (1-20, 21-35, 36-55).

    Raises:
        ValueError: fewer than 3 users, the number of splits, or more than the original's 55.
    """
    total = sum(len(numbers) for numbers in USERS.values())
    if not FEWEST_USERS <= users <= total:
        raise ValueError(f"{users} users: choose {FEWEST_USERS} (one per split) to {total}")
    train = max(round(users * len(USERS["train"]) / total), 1)
    test = max(round(users * len(USERS["test"]) / total), 1)
    counts: dict[Split, int] = {"train": train, "dev": users - train - test, "test": test}
    return {split: list(USERS[split])[:count] for split, count in counts.items()}
