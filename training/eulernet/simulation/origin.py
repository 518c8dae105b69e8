"""Whether a video was simulated: what is drawn from one has to say so."""

from pathlib import Path

from eulernet.simulation.layout import RECORD


def is_simulated(video: Path) -> bool:
    """Whether a video lies in a folder of a simulated data set, or beside its record."""
    return any((folder / RECORD).is_file() for folder in list(video.resolve().parents)[:2])
