# SPDX-License-Identifier: Apache-2.0
"""EulerNet: the network, its training data and labels, training, evaluation, ablation and visualization."""
