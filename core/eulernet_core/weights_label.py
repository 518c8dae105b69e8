# SPDX-License-Identifier: Apache-2.0
"""The label of a set of weights: their training data, and the warning that their verdicts need."""

from __future__ import annotations

WEIGHTS_PARAMETER = "weights"  # parameter of the ensembles' configurations that carries the label
IDENTITY_PARAMETER = "identity"  # parameter of the ensembles' configurations that carries `identity`
WEIGHTS_UNKNOWN = "unknown"  # in place of a label or an identity that a server does not report
WEIGHTS_UNTRAINED = "untrained"
WEIGHTS_SIMULATED = "simulated"  # part of the label of weights that were never trained on a real attack
LIVE_THRESHOLD = 0.5  # a liveness of at least this is called live (bona fide)


def identity(parameters_sha256: str, *precisions: str) -> str:
    """What two servers must have in common to give equal scores, such as `1a2b3c4d5e6f7a8b fp32`.

    Args:
        parameters_sha256: hash of the weights, a property of the exported graphs.
        precisions: of the networks behind the ensembles.
    """
    return " ".join([parameters_sha256[:16], *sorted(set(precisions))])


def weights_warning(label: str) -> str:
    """A warning about verdicts of these weights; empty where there is nothing to say."""
    if label == WEIGHTS_UNTRAINED:
        return "verdicts mean nothing yet"
    if label == WEIGHTS_UNKNOWN:
        return "the server does not tell which ones scored"
    if WEIGHTS_SIMULATED in label:
        return "verdicts are proven on simulated attacks only"
    return ""
