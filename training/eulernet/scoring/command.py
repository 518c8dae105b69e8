"""`eulernet evaluate`: from models and a data set to ISO/IEC 30107-3 figures, with every clip's score kept."""

from pathlib import Path

import click

FOLDER = click.Path(file_okay=False, path_type=Path)
PROTOCOLS = ("1", "2", "3", "4")
ALL = "all"


@click.command()
@click.argument("model")
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="Folder in OULU-NPU's layout, real or simulated, or a manifest CSV (path,label,instrument,subject,split).",
)
@click.option("--out", required=True, type=FOLDER, help="Folder for the report, and for the scores in OUT/scores.")
@click.option(
    "--protocol",
    "protocols",
    type=click.Choice([*PROTOCOLS, ALL]),
    multiple=True,
    default=["1"],
    show_default=True,
    help="Of a folder in OULU-NPU's layout; may be given several times.",
)
@click.option(
    "--fold",
    "folds",
    type=click.IntRange(1, 6),
    multiple=True,
    help="Of protocols 3 and 4; may be given several times. [all six]",
)
@click.option(
    "--clips", default=4, show_default=True, type=click.IntRange(1), help="Clips a video; it gets their mean."
)
@click.option("--crops", type=FOLDER, default="out/crops", show_default=True, help="Folder of the cached face crops.")
@click.option("--face-models", type=FOLDER, default="out/face_models", show_default=True)
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(1), help="Processes that cut the faces out.")
@click.option("--still", is_flag=True, help="Each clip's first frame four times: what is left without time.")
@click.option(
    "--resamples", type=click.IntRange(1), default=2000, show_default=True, help="Draws behind the 95 % intervals."
)
def evaluate(
    model: str,
    data: Path,
    out: Path,
    protocols: tuple[str, ...],
    folds: tuple[int, ...],
    clips: int,
    crops: Path,
    face_models: Path,
    jobs: int,
    still: bool,
    resamples: int,
) -> None:
    """Score a data set with MODEL and compute the figures of ISO/IEC 30107-3.

    MODEL: a checkpoint (.pt), an exported clip graph (.onnx), a running server (grpc://host:port), or its network alone
    (grpc://host:port/eulernet_clip), which gets the same crops as the files. In a path, {protocol} and {fold} stand for
    the numbers, so that each fold is judged by a model of its own, as out/runs/p{protocol}/{fold}/best.pt; where a
    protocol has no folds, {fold} stands for nothing.

    Thresholds come from the dev scores. Every clip's score is kept in OUT/scores, from which `eulernet metrics report`
    computes the same figures again. Figures from simulated data are marked so.

    \b
    Exit status: 0 the report is written, 1 there is nothing to score or to score with, 2 wrong usage.
    """
    from eulernet.datasets import DatasetError
    from eulernet.evaluation.command import write_and_print
    from eulernet.evaluation.folder import evaluate_folder
    from eulernet.evaluation.metrics import MetricsError
    from eulernet.evaluation.scores import ScoresError
    from eulernet.faces import FaceModelsError
    from eulernet.scoring.run import Settings, plan, score
    from eulernet.scoring.scorers import ScorerError

    chosen = [int(each) for each in (PROTOCOLS if ALL in protocols else protocols)]
    if folds and not {3, 4} & set(chosen):
        raise click.UsageError("--fold is for protocols 3 and 4; give --protocol 3 or --protocol 4 with it")
    try:
        todo = plan(model, data, chosen, folds) if folds else plan(model, data, chosen)
        problems = score(todo, data, out / "scores", Settings(clips, crops, face_models, jobs, still))
        if len(problems):
            click.echo(problems.summary(), err=True)
        evaluation = evaluate_folder(out / "scores", resamples=resamples)
    except (DatasetError, FaceModelsError, ScorerError, ScoresError, MetricsError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"weights: {evaluation.about.facts['weights']}")
    write_and_print(evaluation, out)
