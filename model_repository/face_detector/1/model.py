"""BlazeFace on a CPU: IMAGE uint8 (n, 128, 128, 3) RGB -> BOX, KEYPOINTS, SCORE, SECOND_SCORE."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "eulernet" / "1"))
from stateless import StatelessModel


class TritonPythonModel(StatelessModel):
    """The name under which Triton looks for the model."""
