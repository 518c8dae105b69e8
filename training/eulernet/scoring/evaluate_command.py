# SPDX-License-Identifier: Apache-2.0
"""`eulernet evaluate`: scores a data set and computes the figures of ISO/IEC 30107-3."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from eulernet.command_options import (
    FOLDER,
    crops_option,
    data_option,
    face_models_option,
    jobs_option,
    resamples_option,
)
from eulernet_core.clip_geometry import CLIP_FRAMES

if TYPE_CHECKING:
    from eulernet_core.attack_detection_metrics import EqualErrors

PROTOCOLS = ("1", "2", "3", "4")
ALL = "all"


@click.command()
@click.argument("model")
@data_option
@click.option("--out", required=True, type=FOLDER, help="Folder for the report, and for the scores in OUT/scores.")
@click.option(
    "--protocol",
    "protocols",
    type=click.Choice([*PROTOCOLS, ALL]),
    multiple=True,
    default=["1"],
    show_default=True,
    help="Protocol of OULU-NPU; may be repeated.",
)
@click.option(
    "--fold",
    "folds",
    type=click.IntRange(1, 6),
    multiple=True,
    help="Fold of protocols 3 and 4; may be repeated.  [all six]",
)
@click.option(
    "--clips", default=4, show_default=True, type=click.IntRange(1), help="Clips per video; its score is their mean."
)
@click.option(
    "--frames",
    default=CLIP_FRAMES,
    show_default=True,
    type=click.IntRange(CLIP_FRAMES),
    help="Frames per clip; the last score that counts is the clip's. More show a checkpoint's errors in streams.",
)
@crops_option
@face_models_option
@jobs_option
@click.option(
    "--still", is_flag=True, help="Repeat each clip's first frame four times, to measure the score without motion."
)
@click.option(
    "--stress",
    is_flag=True,
    help="Also score attacks made from the bona fide test clips (frozen, or moved as a plane), and resampled copies.",
)
@click.option(
    "--widen-dev",
    is_flag=True,
    help="Add a frozen copy (attack) and a resampled copy (bona fide) of each bona fide dev clip to the dev scores.",
)
@click.option(
    "--equal-errors",
    "equal",
    type=click.Choice(["pooled", "highest"]),
    default="pooled",
    show_default=True,
    help="At the threshold, BPCER of the dev scores equals the APCER of the attacks pooled, or the highest of the "
    "instruments.",
)
@resamples_option
def evaluate(
    model: str,
    data: Path,
    out: Path,
    protocols: tuple[str, ...],
    folds: tuple[int, ...],
    clips: int,
    frames: int,
    crops: Path,
    face_models: Path,
    jobs: int,
    still: bool,
    stress: bool,
    widen_dev: bool,
    equal: "EqualErrors",
    resamples: int,
) -> None:
    """Score a data set with MODEL and compute the figures of ISO/IEC 30107-3.

    MODEL: a checkpoint (.pt), an exported clip graph (.onnx), a running server (grpc://host:port), or the server's
    network stage alone (grpc://host:port/eulernet_clip), which is given the same crops as the files. {protocol} and
    {fold} in a path are replaced by the numbers, so that each fold can have another model:
    out/runs/p{protocol}/{fold}/best.pt. In protocols without folds, {fold} is empty.

    The thresholds are set on the dev scores. For a manifest without dev rows the threshold is 0.5, and the report says
    so. OUT/scores has the score of every clip; `eulernet metrics report` computes the same figures from it. Figures of
    simulated data are marked.

    With --stress the report has a table of its own for the stress instruments: APCER of clips that repeat or move one
    bona fide frame, and BPCER of clips that are only resampled, at the threshold of the protocols.

    \b
    Exit status: 0 report written, 1 the data or the model is missing or unusable, 2 wrong usage.
    """
    from eulernet.datasets import DatasetError
    from eulernet.evaluation.folder import evaluate_folder
    from eulernet.evaluation.metrics_command import write_and_print
    from eulernet.evaluation.scores import ScoresError
    from eulernet.faces import FaceModelsError
    from eulernet.scoring.protocol_scoring import Settings, plan, score
    from eulernet.scoring.scorers import ScorerError
    from eulernet_core.attack_detection_metrics import MetricsError

    chosen = [int(each) for each in (PROTOCOLS if ALL in protocols else protocols)]
    if folds and not {3, 4} & set(chosen):
        raise click.UsageError("--fold is for protocols 3 and 4; give --protocol 3 or --protocol 4 with it")
    if still and (stress or widen_dev):
        raise click.UsageError("--still takes the motion out of every clip; leave out --stress and --widen-dev")
    try:
        todo = plan(model, data, chosen, folds) if folds else plan(model, data, chosen)
        settings = Settings(clips, crops, face_models, jobs, still, stress, widen_dev, frames, equal)
        problems = score(todo, data, out / "scores", settings)
        if len(problems):
            click.echo(problems.summary(), err=True)
        evaluation = evaluate_folder(out / "scores", resamples=resamples)
    except (DatasetError, FaceModelsError, ScorerError, ScoresError, MetricsError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"weights: {evaluation.about.facts['weights']}")
    write_and_print(evaluation, out)
