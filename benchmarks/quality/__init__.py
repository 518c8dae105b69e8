# SPDX-License-Identifier: Apache-2.0
"""Error rates over face size, compression and blur on simulated videos, and the thresholds that follow from them."""
