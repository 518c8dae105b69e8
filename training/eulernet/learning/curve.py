# SPDX-License-Identifier: Apache-2.0
"""EER by epoch, drawn as in the slides' ablation: one line per run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from eulernet_core.whole_files import replacing

History = Sequence[Mapping[str, float]]


def draw_curves(runs: Mapping[str, History], path: Path, title: str) -> None:
    """Writes a picture (PNG or SVG, by the file's suffix) of the dev EER of each run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for name, history in runs.items():
        epochs = [row["epoch"] for row in history]
        axes.plot(epochs, [100 * row["dev_eer"] for row in history], marker="o", markersize=3, label=name)
    axes.set(xlabel="epoch", ylabel="dev EER (%)", title=title, ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
    pyplot.close(figure)
