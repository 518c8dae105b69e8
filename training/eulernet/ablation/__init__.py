"""The slides' ablation, and OULU-NPU's protocols with their folds, trained with one small recipe: `eulernet ablate`."""
