"""Stage 3 of `antispoof_clip` on a CPU: EulerNet over the four frames of each clip, without state."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "eulernet" / "1"))
from stateless import StatelessModel


class TritonPythonModel(StatelessModel):
    """The name under which Triton looks for the model."""
