"""`eulernet precision`: the served graphs in fp32, fp16 and int8, what each costs in error, and what a CPU gains."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from onnx import ModelProto

    from eulernet_build.precision.speed import Speed

DIRECTORY = click.Path(file_okay=False, path_type=Path)
REPORT = "precision.json"
BATCHES, ROUNDS, CALLS = (1, 8), 15, 4


@click.command()
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="Folder in OULU-NPU's layout, real or simulated, or a manifest CSV (path,label,instrument,subject,split).",
)
@click.option(
    "--out", type=DIRECTORY, default="out/precision", show_default=True, help="Folder for graphs and figures."
)
@click.option("--repository", type=DIRECTORY, help="The model repository with the graphs; the clone's by default.")
@click.option("--protocol", type=click.IntRange(1, 4), default=1, show_default=True, help="Of OULU-NPU's layout.")
@click.option("--fold", type=click.IntRange(1, 6), help="Of protocols 3 and 4.")
@click.option("--clips", default=4, show_default=True, type=click.IntRange(1), help="Clips a video.")
@click.option(
    "--calibration-clips",
    default=64,
    show_default=True,
    type=click.IntRange(1),
    help="Training clips for int8's scales.",
)
@click.option(
    "--crops", type=DIRECTORY, default="out/crops", show_default=True, help="Folder of the cached face crops."
)
@click.option("--face-models", type=DIRECTORY, default="out/face_models", show_default=True)
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(1), help="Processes that cut the faces out.")
@click.option("--speed/--no-speed", default=True, show_default=True, help="Measure frames/s on this CPU as well.")
def precision(
    data: Path,
    out: Path,
    repository: Path | None,
    protocol: int,
    fold: int | None,
    clips: int,
    calibration_clips: int,
    crops: Path,
    face_models: Path,
    jobs: int,
    speed: bool,
) -> None:
    """Make the served graphs in fp32, fp16 and int8, and measure what each costs in error.

    FCAMs are fused into eulernet::DIIRFGate, constants folded. fp16 has casts in the graph, int8 has Q/DQ, calibrated
    on training clips; the filters' state, coefficients and arithmetic are fp32 in all. The figures come from the test
    clips, through ONNX Runtime, at the threshold of fp32's dev scores.

    Writes OUT/eulernet/model.PRECISION.onnx, OUT/eulernet_clip/model.PRECISION.onnx and OUT/precision.json.

    \b
    Exit status: 0 made and measured, 1 not, 2 wrong usage.
    """
    from eulernet.datasets import DatasetError
    from eulernet.evaluation.metrics import MetricsError
    from eulernet.faces import FaceModelsError

    from eulernet_build.face_models.files import write_whole
    from eulernet_build.parity import ParityError
    from eulernet_build.plans import metadata
    from eulernet_build.precision import cost, variants
    from eulernet_build.precision.report import Report
    from eulernet_build.precision.speed import processor
    from eulernet_build.repository import RepositoryError, checkout
    from eulernet_build.surgery import SurgeryError

    try:
        graphs = variants.read_graphs(repository or checkout() / "model_repository")
        part = None if data.is_file() else protocol
        source = cost.Source(data, part, fold if part else None, clips, crops, face_models, jobs)
        facts = metadata(graphs[variants.CLIP])
        calibration = cost.calibration_clips(source, calibration_clips, int(facts["image_size"]))
        made = variants.make_variants(graphs, calibration)
        files = variants.write_variants(made, out)
        threshold, costs = cost.measure(cost.crop_models(made[variants.CLIP]), source)
        speeds = _speeds(graphs[variants.STEP], made[variants.STEP]) if speed else []
        report = Report(
            weights=facts["weights"],
            parameters_sha256=facts["parameters_sha256"],
            data=data.resolve().name,
            simulated=source.simulated,
            protocol=source.protocol,
            fold=source.fold,
            clips_a_video=clips,
            calibration_clips=len(calibration),
            threshold=threshold,
            costs=tuple(costs),
            processor=processor(),
            speeds=tuple(speeds),
        )
        write_whole(out / REPORT, report.to_json().encode())
    except (DatasetError, FaceModelsError, MetricsError, ParityError, RepositoryError, SurgeryError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or out}: can't be written ({error.strerror})") from error
    click.echo(report.text())
    for path in (*(path for its in files.values() for path in its.values()), out / REPORT):
        click.echo(path)


def _speeds(served: "ModelProto", variants: "Mapping[str, ModelProto]") -> "list[Speed]":
    """One frame a call and eight, the graph as it is served first."""
    from eulernet_build.precision.speed import measure_speed
    from eulernet_build.precision.variants import FOR_CPU

    graphs = {"fp32 as served": (served, "f32"), "bf16 as served": (served, "bf16")}
    graphs |= {name: (variants[name], "f32") for name in ("fp32", "int8", FOR_CPU)}
    return [each for batch in BATCHES for each in measure_speed(graphs, batch, ROUNDS, CALLS)]
