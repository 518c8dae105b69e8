"""EER by epoch, as the slides draw it for their ablation: one line a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

History = Sequence[Mapping[str, float]]


def draw_curves(runs: Mapping[str, History], path: Path, title: str) -> None:
    """Writes a picture (PNG or SVG, by the name) of the dev EER of each run."""
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
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
