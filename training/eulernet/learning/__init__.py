"""Training: settings, losses, augmentation, the loop with its checkpoints."""
