# SPDX-License-Identifier: Apache-2.0
"""`eulernet engine`: builds TensorRT plans of the served models, for this machine's GPU or for RTX cards."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eulernet_core.tensors import CLIP_NETWORK_MODEL, FACE_DETECTOR_MODEL, STEP_NETWORK_MODEL

if TYPE_CHECKING:
    from eulernet_build.engine import GoldenCase, Request
    from eulernet_serving.plan_records import PlanRecord

TRAINED = (STEP_NETWORK_MODEL, CLIP_NETWORK_MODEL)
MODELS = (*TRAINED, FACE_DETECTOR_MODEL)
DIRECTORY = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("engine")
@click.argument("models", nargs=-1, type=click.Choice(MODELS))
@click.option("--graph", type=FILE, show_default="the served graph, FCAMs fused", help="Graph (ONNX) of one MODEL.")
@click.option("--golden", type=FILE, show_default="the served graph's", help="Inputs and expected outputs (npz).")
@click.option(
    "--builder",
    type=click.Choice(["tensorrt", "tensorrt-rtx"]),
    show_default="tensorrt if it is installed",
    help="tensorrt-rtx makes plans for GeForce and RTX cards, on any machine, and does not run them.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    show_default="this machine's GPU",
    help="Compute capability of the GPU, such as 8.9; repeatable. Only tensorrt-rtx builds for another GPU.",
)
@click.option(
    "--out",
    type=DIRECTORY,
    show_default="out/engines, out/engines_rtx for tensorrt-rtx",
    help="Folder for the plans.",
)
@click.option(
    "--plugin",
    type=click.Path(dir_okay=False, path_type=Path),
    show_default="out/plugins/libeulernet_plugins.so",
    help="Library.",
)
@click.option("--no-plugin", is_flag=True, help="Compute the filters with the graph's function bodies.")
@click.option("--plugin-inside", is_flag=True, help="Serialize the library into the plan.")
@click.option("--max-batch", type=click.IntRange(1), show_default="config.pbtxt's", help="Largest batch.")
@click.option(
    "--level", type=click.IntRange(0, 5), default=5, show_default=True, help="Effort of the search for tactics."
)
@click.option("--face-models", type=DIRECTORY, show_default="the user's cache", help="Folder of the face models.")
@click.option("--tf32", is_flag=True, help="Use TF32 in float32 layers: faster, errors of about 1e-3.")
def engine(
    models: tuple[str, ...],
    graph: Path | None,
    golden: Path | None,
    builder: str | None,
    targets: tuple[str, ...],
    out: Path | None,
    plugin: Path | None,
    no_plugin: bool,
    plugin_inside: bool,
    max_batch: int | None,
    level: int,
    face_models: Path | None,
    tf32: bool,
) -> None:
    """Build TensorRT plans of MODELS (all by default) for this machine's GPU and TensorRT.

    Compares each plan with the golden case, at the smallest and the largest batch of every profile, before it is kept.
    With TensorRT for RTX, builds for the cards of --target, needs no GPU, and compares nothing.

    \b
    Exit status: 0 all built, 2 wrong usage,
    1 no GPU, no TensorRT, or a plan whose outputs differ from the network's.
    """
    if graph and len(models) != 1:
        raise click.UsageError("--graph needs exactly one MODEL")
    from eulernet_build import engine as engines
    from eulernet_core import shipped
    from eulernet_serving.face_models.wheel_files import FetchError
    from eulernet_serving.triton_config import read_config

    try:
        chosen = engines.choose_builder(builder)
        capabilities = engines.choose_targets(chosen, targets)
        out = out or Path("out/engines" if chosen == engines.TENSORRT else "out/engines_rtx")
        source = shipped.model_repository()
        library = None if no_plugin else (plugin or shipped.clone(*engines.PLUGIN_LIBRARY.parts))
        if library and not library.is_file():
            raise click.ClickException(f"{library}: no such file; run make plugin, or use --no-plugin")
        for model in models or MODELS:
            path = graph or served_graph(model, source, out, face_models)
            request = engines.Request(
                model=model,
                graph=path,
                max_batch=max_batch or read_config(source / model / "config.pbtxt").max_batch_size,
                golden=golden_for(model, path, golden, source),
                plugin=library,
                inside=plugin_inside,
            )
            for plan, record in built(chosen, request, capabilities, out, level, tf32):
                run = "not run" if record.difference is None else f"{record.difference:.1e} from the golden case"
                click.echo(
                    f"{plan}: {record.precision}, batch 1 to {record.max_batch}, built in {record.build_s:.0f} s, "
                    f"plugin {record.plugin}, {run}"
                )
    except (engines.EngineError, shipped.NotInThisInstallationError, FetchError) as error:
        raise click.ClickException(str(error)) from error


def built(
    builder: str, request: "Request", capabilities: tuple[str, ...], out: Path, level: int, tf32: bool
) -> "Iterator[tuple[Path, PlanRecord]]":
    """Builds a plan for each compute capability. Raises: click.ClickException with the model's name."""
    from eulernet_build import engine as engines
    from eulernet_build.parity import ParityError
    from eulernet_build.rtx_plan_order import RtxError

    if builder == engines.TENSORRT_RTX:
        for capability in capabilities:
            try:
                yield engines.build_rtx_engine(request, capability, out, level, tf32)
            except RtxError as error:
                raise click.ClickException(f"{request.model}, {capability}: {error}") from error
        return
    engines.require()
    from eulernet_build.tensorrt_api import BuildError, BuildSettings

    try:
        yield engines.build_engine(request, out, BuildSettings(level=level, tf32=tf32))
    except (BuildError, ParityError) as error:
        raise click.ClickException(f"{request.model}: {error}") from error


def served_graph(model: str, source: Path, out: Path, face_models: Path | None = None) -> Path:
    """The served graph of a model, ready for TensorRT: with fused FCAMs, or the face detector's graph.

    Args:
        model: one of `MODELS`.
        source: the sources of the model repository.
        out: a fused graph is written to `out`/model/graph.onnx.
        face_models: folder of the face models; the user's cache by default.
    Raises: EngineError if the graph can't be fused; FetchError if the face detector is not available.
    """
    if model not in TRAINED:
        from eulernet_core.shipped import face_models_folder
        from eulernet_serving.face_models.converted import DETECTOR_NAME, make_face_models

        folder = face_models or face_models_folder()
        make_face_models(folder)
        return folder / DETECTOR_NAME
    import onnx

    from eulernet_build.engine import EngineError
    from eulernet_build.surgery import SurgeryError, fuse
    from eulernet_core.whole_files import write_whole

    served = source / model / "1" / "model.onnx"
    try:
        fused = fuse(onnx.load(served))
    except SurgeryError as error:
        raise EngineError(f"{served}: {error}; or pass another graph with --graph") from error
    path = out / model / "graph.onnx"
    write_whole(path, fused.SerializeToString(deterministic=True))
    return path


def golden_for(model: str, graph: Path, golden: Path | None, source: Path) -> "GoldenCase":
    """The golden case of a model's graph.

    Args:
        model: one of `MODELS`.
        graph: the model's graph.
        golden: the case's file; None for the exported case, or, for the face detector, ONNX Runtime's outputs for the
            faces of the exported case.
        source: the sources of the model repository.

    The expected outputs of an int8 graph are ONNX Runtime's outputs of the same graph: a tolerance that covers the
    error of quantization would hide mistakes.
    """
    import onnx

    from eulernet_build.engine import case_of_onnxruntime, golden_case, pictures_case
    from eulernet_serving.plan_records import precision_of

    loaded = onnx.load(graph)
    if not golden and model not in TRAINED:
        return pictures_case(loaded, source / CLIP_NETWORK_MODEL / "1" / "golden.npz")
    case = golden_case(loaded, golden or source / model / "1" / "golden.npz")
    return case_of_onnxruntime(loaded, case.inputs) if precision_of(loaded) == "int8" else case
