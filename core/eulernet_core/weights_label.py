# SPDX-License-Identifier: Apache-2.0
"""The label of a set of weights: their training data, and the warning that their verdicts need."""

from __future__ import annotations

WEIGHTS_PARAMETER = "weights"  # parameter of the ensembles' configurations that carries the label
WEIGHTS_UNKNOWN = "unknown"
WEIGHTS_UNTRAINED = "untrained"
WEIGHTS_SIMULATED = "simulated"  # part of the label of weights that were never trained on a real attack
LIVE_THRESHOLD = 0.5  # a liveness of at least this is called live (bona fide)


def weights_warning(label: str) -> str:
    """A warning about verdicts of these weights; empty where there is nothing to say."""
    if label == WEIGHTS_UNTRAINED:
        return "verdicts mean nothing yet"
    if label == WEIGHTS_UNKNOWN:
        return "the server does not tell which ones scored"
    if WEIGHTS_SIMULATED in label:
        return "verdicts are proven on simulated attacks only"
    return ""
