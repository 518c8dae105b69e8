# SPDX-License-Identifier: Apache-2.0
"""Eulerian video magnification: makes visible the changes that EulerNet's filters respond to."""

from eulernet.magnification.magnifier import COLOUR, MOTION, Magnifier, MagnifierSettings

__all__ = ["COLOUR", "MOTION", "Magnifier", "MagnifierSettings"]
