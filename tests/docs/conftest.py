# SPDX-License-Identifier: Apache-2.0
"""Puts the clone's folder on the path: docs/ belongs to no installed package."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))


@pytest.fixture
def example_clip(tmp_path: Path, moving_faces: Callable[..., list[bytes]]) -> Path:
    """A folder of ten JPEGs with a face, in place of the user's video."""
    folder = tmp_path / "selfie"
    folder.mkdir()
    for number, jpeg in enumerate(moving_faces(10, 3)):
        (folder / f"{number}.jpg").write_bytes(jpeg)
    return folder
