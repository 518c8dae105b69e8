# SPDX-License-Identifier: Apache-2.0
"""Stage 2 of `antispoof_clip` on a CPU: EulerNet over the four frames of each clip, without state."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from eulernet_core.tensors import CLIP_MODEL, LIVENESS, STATUS_OUT
from eulernet_serving.stages.frame_metrics import ClipMetrics, LivenessMetrics, is_counted
from eulernet_serving.stages.stateless_graph import StatelessGraph


class ClipNetwork(StatelessGraph):
    """FACE uint8 (1, 4, 256, 256, 3), STATUS int32 (1, 4), FACE_BOX float32 (1, 4, 4) -> NETWORK_OUTPUTS."""

    def set_up(self, args: Mapping[str, str]) -> None:
        """Loads the graph."""
        super().set_up(args)
        self._clips, self._liveness = ClipMetrics(self.metrics), LivenessMetrics(self.metrics, CLIP_MODEL)

    def inferred(self, request: Any, results: Mapping[str, NDArray[Any]]) -> None:
        """Counts the clips of a request."""
        count_clips(request, results, self._clips, self._liveness)


def count_clips(
    request: Any, results: Mapping[str, NDArray[Any]], clips: ClipMetrics, liveness: LivenessMetrics
) -> None:
    """Counts the clips of a request and their scores, unless it is a health probe."""
    if not is_counted(request):
        return
    for statuses, scores in zip(results[STATUS_OUT].tolist(), results[LIVENESS].tolist(), strict=True):
        if clips.add(statuses):
            liveness.add(scores[-1])
