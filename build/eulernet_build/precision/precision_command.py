# SPDX-License-Identifier: Apache-2.0
"""`eulernet precision`: makes the served graphs in fp32, fp16 and int8, and measures their errors and their speed."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eulernet_core.shipped import face_models_folder

if TYPE_CHECKING:
    from onnx import ModelProto

    from eulernet_build.precision.cost import Source
    from eulernet_build.precision.precision_report import Report
    from eulernet_build.precision.runtime_speed import Speed

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
    "--out", type=DIRECTORY, default="out/precision", show_default=True, help="Folder for graphs and measurements."
)
@click.option("--repository", type=DIRECTORY, show_default="the shipped one", help="Model repository with the graphs.")
@click.option("--protocol", type=click.IntRange(1, 4), default=1, show_default=True, help="OULU-NPU's protocol.")
@click.option("--fold", type=click.IntRange(1, 6), help="Fold of protocols 3 and 4.")
@click.option("--clips", default=4, show_default=True, type=click.IntRange(1), help="Clips per video.")
@click.option(
    "--calibration-clips",
    default=64,
    show_default=True,
    type=click.IntRange(1),
    help="Training clips for int8's ranges.",
)
@click.option("--crops", type=DIRECTORY, default="out/crops", show_default=True, help="Cache folder of face crops.")
@click.option(
    "--face-models",
    type=DIRECTORY,
    default=face_models_folder,
    show_default="the user's cache",
    help="Folder of the face models.",
)
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(1), help="Processes that crop faces.")
@click.option("--speed/--no-speed", default=True, show_default=True, help="Also measure frames/s on this CPU.")
@click.option("--install", is_flag=True, help="Put the int8 graphs for CPUs, with their error, into the repository.")
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
    install: bool,
) -> None:
    """Make the served graphs in fp32, fp16 and int8, and measure their errors.

    Fuses FCAMs into eulernet::DIIRFGate and folds constants. The fp16 graph has casts; the int8 graph has Q/DQ,
    calibrated on training clips. In all graphs the filters' state, coefficients and arithmetic are fp32. Measures the
    test clips in ONNX Runtime at the threshold of fp32's development scores.

    Writes OUT/eulernet/model.PRECISION.onnx, OUT/eulernet_clip/model.PRECISION.onnx and OUT/precision.json. With
    --install, `eulernet serve` uses int8 where its error is within the limit and the processor has AVX2.

    \b
    Exit status: 0 success, 1 failure, 2 wrong usage.
    """
    from eulernet.datasets import DatasetError
    from eulernet.faces import FaceModelsError
    from eulernet_build.parity import ParityError
    from eulernet_build.precision.cost import Source
    from eulernet_build.surgery import SurgeryError
    from eulernet_core import shipped
    from eulernet_core.attack_detection_metrics import MetricsError

    part = None if data.is_file() else protocol
    source = Source(data, part, fold if part else None, clips, crops, face_models, jobs)
    try:
        served = repository or shipped.model_repository()
        report, files = _make_and_measure(served, source, calibration_clips, speed, out, install)
    except (DatasetError, FaceModelsError, MetricsError, ParityError, SurgeryError) as error:
        raise click.ClickException(str(error)) from error
    except shipped.NotInThisInstallationError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or out}: can't be written ({error.strerror})") from error
    click.echo(report.text())
    for path in files:
        click.echo(path)


def _make_and_measure(
    repository: Path, source: "Source", calibration_clips: int, speed: bool, out: Path, install: bool
) -> "tuple[Report, list[Path]]":
    """Writes the variants and the report. Returns: the report, and all written files."""
    from eulernet_build.precision import cost, variants
    from eulernet_build.precision.precision_report import Report
    from eulernet_build.precision.runtime_speed import processor
    from eulernet_core.whole_files import write_whole_text
    from eulernet_serving.plan_records import graph_properties

    graphs = variants.read_graphs(repository)
    facts = graph_properties(graphs[variants.CLIP])
    calibration = cost.calibration_clips(source, calibration_clips, int(facts["image_size"]))
    made = variants.make_variants(graphs, calibration)
    threshold, costs = cost.measure(cost.crop_models(made[variants.CLIP]), source)
    variants.record_loss(made, next(each.acer_change for each in costs if each.precision == variants.FOR_CPU))
    files = variants.write_variants(made, out)
    installed = variants.install_int8(made, repository) if install else []
    speeds = _speeds(graphs[variants.STEP], made[variants.STEP]) if speed else []
    report = Report(
        weights=facts["weights"],
        parameters_sha256=facts["parameters_sha256"],
        data=source.data.resolve().name,
        simulated=source.simulated,
        protocol=source.protocol,
        fold=source.fold,
        clips_a_video=source.clips,
        calibration_clips=len(calibration),
        threshold=threshold,
        costs=tuple(costs),
        processor=processor(),
        speeds=tuple(speeds),
    )
    write_whole_text(out / REPORT, report.to_json())
    return report, [*(path for its in files.values() for path in its.values()), *installed, out / REPORT]


def _speeds(served: "ModelProto", variants: "Mapping[str, ModelProto]") -> "list[Speed]":
    """Speeds at one and at eight frames per call; the first graph is the served one."""
    from eulernet_build.precision.runtime_speed import measure_speed
    from eulernet_build.precision.variants import FOR_CPU

    graphs = {"fp32 as served": (served, "f32"), "bf16 as served": (served, "bf16")}
    graphs |= {name: (variants[name], "f32") for name in ("fp32", "int8", FOR_CPU)}
    return [each for batch in BATCHES for each in measure_speed(graphs, batch, ROUNDS, CALLS)]
