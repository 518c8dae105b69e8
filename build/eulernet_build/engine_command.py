"""`eulernet engine`: TensorRT plans of the served models for this machine's GPU."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from eulernet_build.engine import GoldenCase

TRAINED = ("eulernet", "eulernet_clip")
MODELS = (*TRAINED, "face_detector")
DIRECTORY = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("engine")
@click.argument("models", nargs=-1, type=click.Choice(MODELS))
@click.option("--graph", type=FILE, help="The graph (ONNX), for one MODEL; the served one by default, FCAMs fused.")
@click.option("--golden", type=FILE, help="Inputs and expected outputs (npz); the served graph's by default.")
@click.option("--out", type=DIRECTORY, default=Path("out/engines"), show_default=True)
@click.option("--plugin", type=click.Path(dir_okay=False, path_type=Path), help="out/plugins/libeulernet_plugins.so.")
@click.option("--no-plugin", is_flag=True, help="Compute the filters by the graph's own function bodies.")
@click.option("--plugin-inside", is_flag=True, help="Serialize the library into the plan.")
@click.option("--max-batch", type=click.IntRange(1), help="What config.pbtxt says by default.")
@click.option("--level", type=click.IntRange(0, 5), default=5, show_default=True, help="How long tactics are searched.")
@click.option("--tf32", is_flag=True, help="Let float32 layers multiply in TF32: faster, and 1e-3 off.")
def engine(
    models: tuple[str, ...],
    graph: Path | None,
    golden: Path | None,
    out: Path,
    plugin: Path | None,
    no_plugin: bool,
    plugin_inside: bool,
    max_batch: int | None,
    level: int,
    tf32: bool,
) -> None:
    """Build TensorRT plans of MODELS (all by default) for this machine's GPU and TensorRT.

    Each is held against the golden case, at the smallest and the largest batch of every profile, before it is kept.

    \b
    Exit status: 0 all built, 1 not: no GPU, no TensorRT, or a plan that does not compute what the network does.
    """
    if graph and len(models) != 1:
        raise click.UsageError("--graph is the graph of one MODEL: name it")
    from eulernet_build import engine as engines
    from eulernet_build.face_models.fetch import FetchError
    from eulernet_build.parity import ParityError
    from eulernet_build.repository import RepositoryError, checkout
    from eulernet_build.triton_config import read_config

    try:
        engines.require()
        from eulernet_build.tensorrt_api import BuildError, BuildSettings

        source = checkout() / "model_repository"
        library = None if no_plugin else (plugin or checkout() / engines.PLUGIN_LIBRARY)
        if library and not library.is_file():
            raise click.ClickException(f"{library}: missing; make plugin builds it, --no-plugin does without it")
        for model in models or MODELS:
            path = graph or served_graph(model, source, out)
            request = engines.Request(
                model=model,
                graph=path,
                max_batch=max_batch or read_config(source / model / "config.pbtxt").max_batch_size,
                golden=golden_for(model, path, golden, source),
                plugin=library,
                inside=plugin_inside,
            )
            try:
                plan, record = engines.build_engine(request, out, BuildSettings(level=level, tf32=tf32))
            except (BuildError, ParityError) as error:
                raise click.ClickException(f"{model}: {error}") from error
            click.echo(
                f"{plan}: {record.precision}, batch 1 to {record.max_batch}, {record.build_s:.0f} s, "
                f"plugin {record.plugin}, within {record.difference:.1e} of the golden case"
            )
    except (engines.EngineError, RepositoryError, FetchError) as error:
        raise click.ClickException(str(error)) from error


def served_graph(model: str, source: Path, out: Path) -> Path:
    """The graph that a model is served from, ready for TensorRT: its FCAMs fused, or the face detector's.

    Args:
        model: one of `MODELS`.
        source: the clone's model_repository/.
        out: a fused graph is put into `out`/model/graph.onnx.
    Raises: EngineError where there is nothing to fuse; FetchError where the face detector can't be had.
    """
    if model not in TRAINED:
        from eulernet_build.face_models.models import DETECTOR_NAME, make_face_models

        folder = source.parent / "out" / "face_models"
        make_face_models(folder)
        return folder / DETECTOR_NAME
    import onnx

    from eulernet_build.engine import EngineError
    from eulernet_build.face_models.files import write_whole
    from eulernet_build.surgery import SurgeryError, fuse

    served = source / model / "1" / "model.onnx"
    try:
        fused = fuse(onnx.load(served))
    except SurgeryError as error:
        raise EngineError(f"{served}: {error}; or name a graph with --graph") from error
    path = out / model / "graph.onnx"
    write_whole(path, fused.SerializeToString(deterministic=True))
    return path


def golden_for(model: str, graph: Path, golden: Path | None, source: Path) -> "GoldenCase":
    """The golden case of a model's graph: `golden`, or the one that the export wrote, or, for the face detector, ONNX
    Runtime's answers to the faces of the trained models' one.

    An int8 graph is held against ONNX Runtime's answers of that graph itself: quantizing moves the answers further than
    any tolerance that would still find a mistake.
    """
    import onnx

    from eulernet_build.engine import case_of_onnxruntime, golden_case, pictures_case
    from eulernet_build.plans import precision_of

    loaded = onnx.load(graph)
    if not golden and model not in TRAINED:
        return pictures_case(loaded, source / "eulernet_clip" / "1" / "golden.npz")
    case = golden_case(loaded, golden or source / model / "1" / "golden.npz")
    return case_of_onnxruntime(loaded, case.inputs) if precision_of(loaded) == "int8" else case
