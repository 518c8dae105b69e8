# SPDX-License-Identifier: Apache-2.0
"""Training: settings, losses, augmentation, checkpoints and the training loop."""
