# SPDX-License-Identifier: Apache-2.0
"""ISO/IEC 30107-3 figures from score tables: intervals, protocols, reports. Does not import torch."""

from eulernet.evaluation.protocols import Fold, FoldResult, ProtocolResult, evaluate_protocol
from eulernet.evaluation.scores import Score, ScoresError, read_scores, write_scores
from eulernet.evaluation.table import Table
from eulernet_core.attack_detection_metrics import MetricsError

__all__ = [
    "Fold",
    "FoldResult",
    "MetricsError",
    "ProtocolResult",
    "Score",
    "ScoresError",
    "Table",
    "evaluate_protocol",
    "read_scores",
    "write_scores",
]
