# SPDX-License-Identifier: Apache-2.0
"""Detects simulated videos, so that pictures of them can be marked."""

from pathlib import Path

from eulernet.simulation.data_set_folder import RECORD


def is_simulated(video: Path) -> bool:
    """Whether a video is in a folder of a simulated data set, or in the same folder as its record."""
    # Links count by either path: to the folder of a data set, or to one of its videos.
    folders = {folder for path in (video.absolute(), video.resolve()) for folder in list(path.parents)[:2]}
    return any((folder / RECORD).is_file() for folder in folders)
