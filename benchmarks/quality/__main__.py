# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.quality`: measures on simulated videos, draws the plot and renders quality.md."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
import onnx

from benchmarks import pages
from benchmarks.pages import FOLDER, say
from benchmarks.quality import degraded_scores as measure
from benchmarks.quality import quality_analysis as analysis
from benchmarks.quality.degradations import levels
from benchmarks.quality.quality_plots import errors
from eulernet.datasets.oulu import Name
from eulernet_core import shipped
from eulernet_core.attack_detection_metrics import MetricsError
from eulernet_core.face_detail import MIN_DETAIL
from eulernet_core.limits import MIN_FACE_PX
from eulernet_core.tensors import CLIP_NETWORK_MODEL
from eulernet_core.weights_label import LIVE_THRESHOLD, WEIGHTS_PARAMETER, WEIGHTS_UNKNOWN
from eulernet_core.whole_files import write_whole_text
from eulernet_loadtest.results import Machine

TEMPLATE = Path(__file__).with_name("quality.md.j2")
ROUNDS = 2  # of seven videos for each person; of --quick one, for one person
QUICK_RATES = 4  # videos for the frame rates of --quick


@click.command()
@click.option("--out", type=FOLDER, default=Path("out", "quality"), show_default=True, help="Folder for all results.")
@click.option("--docs", type=FOLDER, help="Folder for a copy of quality.md and its plot.")
@click.option(
    "--graph",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Exported clip graph.  [default: the shipped one]",
)
@click.option(
    "--face-models", type=FOLDER, help="Folder of the face models.  [default: where `eulernet face-models` puts them]"
)
@click.option(
    "--minutes", type=click.FloatRange(min=0.0), default=30.0, show_default=True, help="Measure no longer than this."
)
@click.option("--quick", is_flag=True, help="A few videos of one person: a test of the command.")
@click.option("--no-measure", is_flag=True, help="Render the page from results.json in --out.")
def main(
    out: Path,
    docs: Path | None,
    graph: Path | None,
    face_models: Path | None,
    minutes: float,
    quick: bool,
    no_measure: bool,
) -> None:
    """Measure the simulated error rates over face size, compression, blur and frame rate.

    The thresholds of the flags follow from them.

    A run that was stopped, or ended after --minutes, continues when the command is given again.
    """
    out.mkdir(parents=True, exist_ok=True)
    if not no_measure:
        graph = graph or shipped.model_repository() / CLIP_NETWORK_MODEL / "1" / "model.onnx"
        scorer = measure.Scorer(graph, face_models or shipped.face_models_folder())
        wanted = measure.plan(1, users=1) if quick else measure.plan(ROUNDS)
        of_rates = measure.plan_rates(1)[:QUICK_RATES] if quick else measure.plan_rates()
        pages.write_json(run(out, graph, scorer, (wanted, of_rates), 60 * minutes), out / "results.json")
    page, plot = write_page(pages.read_json(out / "results.json"), out)
    say(f"results: {out / 'results.json'}, page: {page}")
    if docs is not None:
        pages.publish([page, plot], docs)
        say(f"written: {docs / page.name}")


def run(
    out: Path, graph: Path, scorer: measure.Scorer, wanted: tuple[list[Name], list[Name]], limit_s: float
) -> dict[str, Any]:
    """Measures the videos that no earlier run has measured. Returns the content of results.json.

    Args:
        out: folder for videos and scores.
        graph: the clip graph that `scorer` runs.
        wanted: the videos to degrade, and those for the frame rates, in this order.
        limit_s: no video is begun later than this.
    """
    every = levels()
    to_degrade, of_rates = wanted
    fingerprint = measure.fingerprint(graph, every)
    end_s = time.monotonic() + limit_s
    cases = measure.demo_cases(scorer, out / "demo")

    def degraded(name: Name) -> list[measure.Measured]:
        return measure.measure_video(scorer, measure.render(out / "videos", name), every)

    def rates(name: Name) -> list[measure.Measured]:
        return measure.measure_rates(scorer, measure.render(out / "fast_videos", name, measure.FAST))

    done = _measured(out / f"scores-{fingerprint}.jsonl", to_degrade, degraded, end_s)
    fast = _measured(out / f"rates-{fingerprint}.jsonl", of_rates, rates, end_s)
    metadata = {each.key: each.value for each in onnx.load(graph).metadata_props}
    return {
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": asdict(Machine.here()),
        "weights": metadata.get(WEIGHTS_PARAMETER, WEIGHTS_UNKNOWN),
        "videos": {str(name): done[str(name)] for name in to_degrade if done.get(str(name))},
        "rates": {str(name): fast[str(name)] for name in of_rates if fast.get(str(name))},
        "demo": cases,
    }


def _measured(
    lines: Path, wanted: Sequence[Name], measured: Callable[[Name], Sequence[measure.Measured]], end_s: float
) -> Mapping[str, list[dict[str, Any]]]:
    """Measures the videos that the file does not have yet, in their order, until `end_s`. Returns all of the file."""
    for number, name in enumerate(wanted, 1):
        if str(name) in measure.read_lines(lines):
            continue
        if time.monotonic() > end_s:
            say(f"stopped after --minutes; {len(wanted) - number + 1} videos are left for the next run")
            break
        measure.append_line(lines, str(name), measured(name))
        say(f"{lines.stem}: {number}/{len(wanted)}  {name}")
    return measure.read_lines(lines)


def write_page(results: dict[str, Any], out: Path) -> tuple[Path, Path]:
    """Draws the plot into `out` and writes quality.md beside it. Returns their paths.

    Raises: click.ClickException if there are too few videos for error rates.
    """
    try:
        view = analysis.view(results["videos"])
        rates = [analysis.row(results["rates"], measure.rate_name(rate)) for rate in measure.FRAME_RATES]
    except MetricsError as error:
        raise click.ClickException(f"{len(results['videos'])} videos measured: {error}; raise --minutes") from error
    plot, page = out / "quality_errors.svg", out / "quality.md"
    errors(view, plot)
    subjects = {video.split("_")[2] for video in results["videos"]}
    live = sum(video.endswith("_1") for video in results["videos"])
    text = pages.render(
        TEMPLATE,
        {"rate": analysis.rate_text},
        results=results,
        view=view,
        subjects=len(subjects),
        live=live,
        attacks=len(results["videos"]) - live,
        threshold=LIVE_THRESHOLD,
        most_flagged=analysis.MOST_FLAGGED,
        shipped={"min_face_px": MIN_FACE_PX, "min_detail": MIN_DETAIL},
        rates=rates,
        demo=[case | analysis.flags_of(case, view) for case in results["demo"]],
    )
    write_whole_text(page, text)
    return page, plot


if __name__ == "__main__":
    main()
