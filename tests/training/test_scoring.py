# SPDX-License-Identifier: Apache-2.0
"""`eulernet evaluate` from videos to a report: checkpoints, the committed graph and a running server agree."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from skimage import data

from eulernet.datasets.clip_pictures import picture_clips
from eulernet.evaluation import read_scores
from eulernet.evaluation.metrics_command import metrics
from eulernet.evaluation.report import SIMULATED_WARNING
from eulernet.faces import FaceFinder, crop
from eulernet.learning.checkpoint import Checkpoint, load, save
from eulernet.network import NetworkConfig, create
from eulernet.scoring.evaluate_command import evaluate
from eulernet.scoring.protocol_scoring import STILL, plan
from eulernet.scoring.scorers import ScorerError
from eulernet_client import Client
from eulernet_core import shipped
from eulernet_serving.embedded_server import EmbeddedServer

GRAPH = shipped.model_repository() / "eulernet_clip" / "1" / "model.onnx"
SHIPPED = shipped.weights()
SMALL = NetworkConfig(image_size=64, widths=(8, 8, 8, 8))
# Lines of label and name as in OULU-NPU; 6_3_36_1 has no face, 6_3_36_2 is not a video, 6_3_36_3 is missing.
LISTS = {
    "Protocol_1/Dev": "1,1_1_21_1 1,2_1_21_1 -1,1_1_21_2 -2,2_1_21_4",
    "Protocol_1/Test": "1,1_3_36_1 1,2_3_36_1 -1,1_3_36_2 -2,2_3_36_4 1,6_3_36_1 -1,6_3_36_2 -1,6_3_36_3",
    "Protocol_3/Dev_1": "1,2_1_21_1 -2,2_1_21_4",
    "Protocol_3/Test_1": "1,1_3_36_1 -1,1_3_36_2",
    "Protocol_3/Dev_2": "1,1_1_21_1 -1,1_1_21_2",
    "Protocol_3/Test_2": "1,2_3_36_1 -2,2_3_36_4",
}


@pytest.fixture(scope="module")
def oulu(portrait: np.ndarray, write_shifted: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven files in OULU-NPU's layout, of a moving photograph."""
    root = tmp_path_factory.mktemp("oulu")
    names = sorted({entry.partition(",")[2] for text in LISTS.values() for entry in text.split()})
    for number, name in enumerate(names):
        folder = root / ("Dev_files" if "_21_" in name else "Test_files")
        folder.mkdir(exist_ok=True)
        if name == "6_3_36_2":
            (folder / f"{name}.avi").write_bytes(b"not a video" * 100)
        elif name != "6_3_36_3":
            picture = data.coffee() if name == "6_3_36_1" else portrait
            write_shifted(folder / f"{name}.avi", picture, number % 3, -20 - number)
    for name, text in LISTS.items():
        path = root / "Protocols" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace(" ", "\n"))
    return root


@pytest.fixture(scope="module")
def run(face_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Result]:
    """run(model, data, out, *options) is `eulernet evaluate` with two clips per video."""
    crops = tmp_path_factory.mktemp("crops")

    def evaluated(model: object, videos: Path, out: Path, *options: str) -> Result:
        arguments = [str(model), "--data", str(videos), "--out", str(out), "--clips", "2", "--resamples", "5"]
        arguments += ["--jobs", "1", "--crops", str(crops), "--face-models", str(face_models)]
        return CliRunner().invoke(evaluate, [*arguments, *options])

    return evaluated


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of checkpoints, different ones for the folds of protocol 3."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, (path, protocol, fold) in enumerate(
        (("p1/best.pt", 1, 0), ("p3/1/best.pt", 3, 1), ("p3/2/best.pt", 3, 2))
    ):
        settings = {"data": {"protocol": protocol, "fold": fold}}
        save(folder / path, Checkpoint(create(seed + 1, SMALL), label=f"seed {seed + 1}", settings=settings))
    return folder


@pytest.fixture(scope="module")
def evaluated(runs: Path, oulu: Path, run: Callable[..., Result], tmp_path_factory) -> tuple[Result, Path]:
    """One model on protocols 1 and 3."""
    out = tmp_path_factory.mktemp("evaluated")
    done = run(runs / "p1/best.pt", oulu, out, "--protocol", "1", "--protocol", "3", "--fold", "1", "--fold", "2")
    assert done.exit_code == 0, done.output
    return done, out


def liveness(path: Path) -> dict[tuple[str, int | None], float | None]:
    return {(each.video.path.as_posix(), each.start): each.liveness for each in read_scores(path)}


def test_every_clip_is_scored_as_the_network_scores_it(
    evaluated: tuple[Result, Path], oulu: Path, runs: Path, face_models: Path
) -> None:
    scores = liveness(evaluated[1] / "scores" / "protocol_1_test.csv")
    network, finder = load(runs / "p1/best.pt").network, FaceFinder(face_models)
    for name in ("1_3_36_1", "2_3_36_4"):
        clips = list(picture_clips(oulu / "Test_files" / f"{name}.avi", 2))
        assert len(clips) == 2
        for clip in clips:
            face = finder.find(clip.items[0])
            assert face is not None
            pictures = np.stack([crop(each, face.box_px, 64) for each in clip.items])
            with torch.inference_mode():
                expected = float(network(torch.from_numpy(pictures)[None]).liveness[0, -1])
            assert scores[f"Test_files/{name}.avi", clip.indices[0]] == pytest.approx(expected, abs=1e-6)
    assert len({round(value, 4) for value in scores.values() if value is not None}) > 3


def test_one_report_has_all_protocols(evaluated: tuple[Result, Path]) -> None:
    done, out = evaluated
    content = json.loads((out / "metrics.json").read_text())
    assert [(each["protocol"], len(each["folds"])) for each in content["protocols"]] == [(1, 1), (3, 2)]
    assert content["facts"]["weights"] == '"seed 1"'
    assert content["facts"]["clips a video"] == "2"
    assert content["simulated"] is False
    assert "simulated data" not in (out / "metrics.html").read_text().lower()
    assert done.stdout.startswith('weights: "seed 1"\nProtocol 1\n')
    everything = liveness(out / "scores" / "protocol_1_test.csv")
    for fold in ("1", "2"):
        assert liveness(out / "scores" / f"protocol_3_fold_{fold}_test.csv").items() <= everything.items()
    again = CliRunner().invoke(
        metrics, ["report", str(out / "scores"), "--out", str(out / "again"), "--resamples", "5"]
    )
    assert again.exit_code == 0, again.output
    assert (out / "again" / "metrics.json").read_bytes() == (out / "metrics.json").read_bytes()


def test_what_is_not_scored_is_counted(evaluated: tuple[Result, Path]) -> None:
    done, out = evaluated
    scores = liveness(out / "scores" / "protocol_1_test.csv")
    assert {path for (path, start), value in scores.items() if start is None and value is None} == {
        "Test_files/6_3_36_1.avi",
        "Test_files/6_3_36_2.avi",
    }
    assert "no face: 1" in done.stderr
    assert "unreadable video: 1" in done.stderr
    assert "6_3_36_3.avi: no such file" in done.stderr
    warnings = json.loads((out / "metrics.json").read_text())["warnings"]
    assert any("missing video: 1" in each for each in warnings)
    assert any("1 of 3 bona_fide (BPNRR 33.3 %), 1 of 2 print1 (APNRR 50.0 %)" in each for each in warnings)


def test_weights_of_another_protocol_are_named(evaluated: tuple[Result, Path], runs: Path) -> None:
    (warning,) = [line for line in evaluated[0].stderr.splitlines() if f"{runs}/p1/best.pt: " in line]
    assert re.search("protocol 1.*protocol 3", warning)


@pytest.mark.slow
def test_each_fold_has_its_own_model(run, runs: Path, oulu: Path, evaluated, tmp_path: Path) -> None:
    model = f"{runs}/p{{protocol}}/{{fold}}/best.pt"
    done = run(model, oulu, tmp_path / "out", "--protocol", "1", "--protocol", "3", "--fold", "1", "--fold", "2")
    assert done.exit_code == 0, done.output
    assert "best.pt: " not in done.output
    assert "3 models" in json.loads((tmp_path / "out/metrics.json").read_text())["facts"]["model"]
    found = tmp_path / "out" / "scores"
    assert liveness(found / "protocol_1_test.csv") == liveness(evaluated[1] / "scores" / "protocol_1_test.csv")
    for fold in (1, 2):
        alone = run(runs / f"p3/{fold}/best.pt", oulu, tmp_path / "alone", "--protocol", "3", "--fold", str(fold))
        assert alone.exit_code == 0, alone.output
        table = f"protocol_3_fold_{fold}_test.csv"
        assert [path.name for path in (tmp_path / "alone" / "scores").glob("*_test.csv")] == [table]  # no older ones
        assert liveness(found / table) == liveness(tmp_path / "alone" / "scores" / table)
        assert liveness(found / table) != liveness(evaluated[1] / "scores" / table)


def test_plan_fills_in_protocol_and_fold(runs: Path, oulu: Path) -> None:
    for number in range(3, 7):
        (runs / f"p3/{number}").mkdir(exist_ok=True)
    model = f"{runs}/p{{protocol}}/{{fold}}/best.pt"
    assert [job.model for job in plan(model, oulu, [3, 1], [2])] == [f"{runs}/p1/best.pt", f"{runs}/p3/2/best.pt"]
    with pytest.raises(ScorerError, match=r"p3/3/best.pt: .*4 of 7"):
        plan(model, oulu, [1, 3])
    with pytest.raises(ScorerError, match=r"\{seed\}"):
        plan("out/{seed}.pt", oulu, [1])
    with pytest.raises(ScorerError, match=r"\{fold\}"):
        plan("out/{fold}.pt", oulu / "Protocols" / "Protocol_1" / "Dev.txt", [1])  # a file: a manifest has no folds


def test_simulated_data_and_untrained_weights_are_named(run, oulu: Path, tmp_path: Path) -> None:
    root = tmp_path / "simulated"
    root.mkdir()
    for folder in ("Dev_files", "Test_files"):
        (root / folder).symlink_to(oulu / folder)
    (root / "simulated.json").write_text("{}")
    rows = ["path,label,instrument,subject,split"]
    for path in sorted(root.glob("*_files/[12]_*.avi")):
        label = "live" if path.stem.endswith("1") else "attack"
        split = "dev" if "Dev" in path.parent.name else "test"
        rows.append(f"simulated/{path.relative_to(root)},{label},,,{split}")
    manifest = tmp_path / "own.csv"
    manifest.write_text("\n".join(rows))
    save(tmp_path / "new.pt", Checkpoint(create(1, SMALL)))
    done = run(tmp_path / "new.pt", manifest, tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "Evaluation (simulated data)" in done.stdout
    assert "new.pt: untrained" in done.stderr
    assert SIMULATED_WARNING.partition(":")[0] in (tmp_path / "out" / "metrics.html").read_text()
    assert "(slides)" not in (tmp_path / "out" / "metrics.md").read_text()  # they are of OULU-NPU's protocols
    assert len(liveness(tmp_path / "out" / "scores" / "test.csv")) == 8


def test_still_clips_repeat_their_first_frame(run, runs: Path, oulu: Path, face_models: Path, tmp_path: Path) -> None:
    done = run(runs / "p1/best.pt", oulu, tmp_path, "--still")
    assert done.exit_code == 0, done.output
    assert STILL in (tmp_path / "metrics.md").read_text()
    scores = liveness(tmp_path / "scores" / "protocol_1_test.csv")
    network, finder = load(runs / "p1/best.pt").network, FaceFinder(face_models)
    for clip in picture_clips(oulu / "Test_files" / "2_3_36_4.avi", 2):
        face = finder.find(clip.items[0])
        assert face is not None
        frame = torch.from_numpy(crop(clip.items[0], face.box_px, 64))
        with torch.inference_mode():
            expected = float(network(frame.repeat(1, 4, 1, 1, 1)).liveness[0, -1])
        assert scores["Test_files/2_3_36_4.avi", clip.indices[0]] == pytest.approx(expected, abs=1e-6)
    server = run("grpc://127.0.0.1:1/eulernet_clip", oulu, tmp_path / "other", "--still")
    assert server.exit_code == 1


def test_longer_clips_are_judged_by_their_last_frame(run, runs: Path, oulu: Path, face_models: Path, tmp_path) -> None:
    done = run(runs / "p1/best.pt", oulu, tmp_path, "--frames", "5", "--stress")
    assert done.exit_code == 0, done.output
    assert "5, the last one's score" in (tmp_path / "metrics.md").read_text()
    scores = liveness(tmp_path / "scores" / "protocol_1_test.csv")
    network, finder = load(runs / "p1/best.pt").network, FaceFinder(face_models)
    for clip in picture_clips(oulu / "Test_files" / "2_3_36_4.avi", 2, 5):
        assert len(clip.items) == 5
        face = finder.find(clip.items[0])
        assert face is not None
        crops = torch.stack([torch.from_numpy(crop(picture, face.box_px, 64)) for picture in clip.items])
        with torch.inference_mode():
            expected = float(network(crops[None]).liveness[0, -1])
        assert scores["Test_files/2_3_36_4.avi", clip.indices[0]] == pytest.approx(expected, abs=1e-6)
    graph = run(GRAPH, oulu, tmp_path / "other", "--frames", "5")
    assert graph.exit_code == 1
    assert "--frames" in graph.output


@pytest.fixture(scope="module")
def graph_scores(run, oulu: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed graph's test scores."""
    out = tmp_path_factory.mktemp("graph")
    done = run(GRAPH, oulu, out)
    assert done.exit_code == 0, done.output
    return out / "scores" / "protocol_1_test.csv"


def test_shipped_checkpoint_and_graph_agree(run, oulu: Path, graph_scores: Path, tmp_path: Path) -> None:
    done = run(SHIPPED, oulu, tmp_path)
    assert done.exit_code == 0, done.output
    assert f'weights: "{load(SHIPPED).label}"' in done.stdout
    tables = [str(graph_scores), str(tmp_path / "scores" / "protocol_1_test.csv")]
    compared = CliRunner().invoke(metrics, ["compare", *tables, "--within", "1e-4"])
    assert compared.exit_code == 0, compared.output
    assert "8 clips in both" in compared.stdout


@pytest.mark.triton
def test_server_and_graph_agree(run, oulu: Path, graph_scores: Path, server: EmbeddedServer, tmp_path: Path) -> None:
    network, pipeline = tmp_path / "network", tmp_path / "pipeline"
    for url, out in ((f"grpc://{server.url}/eulernet_clip", network), (f"grpc://{server.url}", pipeline)):
        done = run(url, oulu, out)
        assert done.exit_code == 0, done.output
    with Client(server.url) as client:
        assert f'weights: "{client.weights()}"' in done.stdout
        sent = client.score(oulu / "Test_files" / "1_3_36_1.avi", clips=2).liveness
    table = "scores/protocol_1_test.csv"
    compared = CliRunner().invoke(metrics, ["compare", str(graph_scores), str(network / table), "--within", "3e-4"])
    assert compared.exit_code == 0, compared.output
    # The pipeline locates the faces itself, in JPEGs.
    compared = CliRunner().invoke(metrics, ["compare", str(graph_scores), str(pipeline / table), "--within", "0.05"])
    assert "8 clips in both" in compared.stdout, compared.output
    of_video = [value for (path, _), value in liveness(pipeline / table).items() if "1_3_36_1" in path]
    assert np.mean(of_video) == pytest.approx(sent, abs=1e-5)  # the score that a client gets
    assert "unreadable video: 1" in done.stderr
    assert "clips not scored: 1" in done.stderr
    wrong = run(f"grpc://{server.url}/antispoof", oulu, tmp_path / "wrong")
    assert wrong.exit_code == 1
    assert "/eulernet_clip" in wrong.output


def test_no_server(run, oulu: Path, tmp_path: Path) -> None:
    done = run("grpc://127.0.0.1:1", oulu, tmp_path)
    assert done.exit_code == 1
    assert "`eulernet serve`" in done.output


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("gone.pt", "gone.pt: no such file"),
        ("garbage.pt", "garbage.pt: "),
        ("garbage.onnx", "garbage.onnx: "),
        (str(GRAPH.parents[2] / "eulernet" / "1" / "model.onnx"), "eulernet_clip/1/model.onnx"),
    ],
)
def test_wrong_model(model: str, message: str, run, oulu: Path, tmp_path: Path) -> None:
    for name in ("garbage.pt", "garbage.onnx"):
        (tmp_path / name).write_text("garbage")
    done = run(tmp_path / model, oulu, tmp_path / "out")
    assert done.exit_code == 1
    assert message in done.output
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_wrong_data_and_usage(run, runs: Path, tmp_path: Path) -> None:
    done = run(runs / "p1/best.pt", tmp_path, tmp_path / "out")
    assert done.exit_code == 1
    assert "wrong layout: " in done.output
    assert run(runs / "p1/best.pt", tmp_path, tmp_path / "out", "--protocol", "5").exit_code == 2
    assert "--fold" in run(runs / "p1/best.pt", tmp_path, tmp_path / "out", "--fold", "1").output
    assert run(runs / "p1/best.pt", tmp_path / "gone", tmp_path / "out").exit_code == 2
