"""Eulerian video magnification: see in a video what EulerNet's filters look for."""

from eulernet.magnification.magnifier import COLOUR, MOTION, Magnifier, MagnifierSettings

__all__ = ["COLOUR", "MOTION", "Magnifier", "MagnifierSettings"]
