# SPDX-License-Identifier: Apache-2.0
"""Limits that several packages state or enforce."""

from __future__ import annotations

MAX_PIXELS = 64_000_000  # height x width; a larger picture is answered with TOO_LARGE
MIN_FACE_WIDTH_PERCENT = 15  # short-range BlazeFace finds faces of this share of the frame's width and up
FACE_TOO_SMALL = f"the face must be at least {MIN_FACE_WIDTH_PERCENT} % of the frame's width and in full view"
LONGEST_SEQUENCE_ID = 128  # characters of a string correlation id
