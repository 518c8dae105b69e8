"""ISO/IEC 30107-3 figures from score tables: metrics, intervals, protocols, reports. Needs no torch."""

from eulernet.evaluation.metrics import MetricsError
from eulernet.evaluation.protocols import Fold, FoldResult, ProtocolResult, evaluate_protocol
from eulernet.evaluation.scores import Score, ScoresError, read_scores, write_scores
from eulernet.evaluation.table import Table

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
