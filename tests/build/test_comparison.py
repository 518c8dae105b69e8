# SPDX-License-Identifier: Apache-2.0
"""Other systems beside EulerNet: their graphs score as PyTorch does, their cost, and the table of the comparison."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner

from eulernet.learning.checkpoint import AnyCheckpoint, Checkpoint, load_any, save
from eulernet.learning.settings import PeerSettings
from eulernet.network import NetworkConfig, create
from eulernet.peers.systems import NETWORKS, create_peer
from eulernet.scoring.scorers import open_checkpoint, open_graph
from eulernet_build.comparison.comparison_table import rows_of
from eulernet_build.comparison.peers_command import peers
from eulernet_core.tensors import FACE, LIVENESS

SMALL = PeerSettings(input_px=32, width_factor=0.0625, box_scale=1.3)


def blocks(count: int, seed: int) -> np.ndarray[Any, Any]:
    """Crops of random blocks of colour, uint8 (count, 4, 256, 256, 3)."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, 4, 32, 32, 3), np.uint8).repeat(8, 2).repeat(8, 3)


def checkpoint(name: str, folder: Path) -> Path:
    """Random weights of a size that lets scores differ, with normalisations that have seen pictures."""
    config = PeerSettings() if name == "minifasnet" else SMALL
    network = create_peer(name, config, 1).train()
    for module in network.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.3, generator=torch.Generator().manual_seed(2))
    seen = torch.from_numpy(blocks(4, 0)).permute(0, 1, 4, 2, 3) / 255.0
    noise = torch.rand(2, 4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for _ in range(30):
            network.clip_values(noise)
        values = network.eval().clip_values(seen)
        network.threshold.fill_(float(values.mean()))
        network.scale.fill_(1.0 / max(float(values.std()), 1e-5))
    path = folder / f"{name}.pt"
    save(path, AnyCheckpoint(network, label=f"some {name}"))
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name != "cdcn" else name for name in NETWORKS]
)
def test_a_graph_scores_as_its_checkpoint(name: str, tmp_path: Path) -> None:
    path = checkpoint(name, tmp_path)
    done = CliRunner().invoke(peers, ["export", str(path), "--out", str(tmp_path / "peer.onnx")])
    assert done.exit_code == 0, done.output
    plain, graph = open_checkpoint(path), open_graph(tmp_path / "peer.onnx")
    assert (graph.weights, graph.box_scale) == (f"some {name}", plain.box_scale)
    clips = blocks(3, 2)
    expected = plain.infer(clips)
    np.testing.assert_allclose(graph.infer(clips), expected, atol=1e-4)
    assert np.ptp(expected) > 1e-3
    if not NETWORKS[name].temporal:
        np.testing.assert_allclose(graph.infer(clips[:, :1]), plain.infer(clips[:, :1]), atol=1e-4)
    model = onnx.load(tmp_path / "peer.onnx")
    assert [each.name for each in (*model.graph.input, *model.graph.output)] == [FACE, LIVENESS]
    assert "work" not in str(model.metadata_props) + model.doc_string


def test_eulernet_and_garbage_are_not_exported(tmp_path: Path) -> None:
    save(tmp_path / "ours.pt", Checkpoint(create(1, NetworkConfig(image_size=64))))
    (tmp_path / "garbage.pt").write_text("garbage")
    for name, message in (("ours.pt", "`eulernet export`"), ("garbage.pt", "not a checkpoint")):
        done = CliRunner().invoke(peers, ["export", str(tmp_path / name), "--out", str(tmp_path / "x.onnx")])
        assert done.exit_code == 1
        assert message in " ".join(done.output.split())
        assert not (tmp_path / "x.onnx").exists()


def test_cost_of_recipes(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text('system = "fas_sgtd"\n[peer]\ninput_px = 64\nwidth_factor = 0.25')
    done = CliRunner().invoke(peers, ["cost", "small", "peers/cdcn", str(tmp_path / "small.toml"), "--no-time"])
    assert done.exit_code == 0, done.output
    _, ours, cdcn, reduced = (line.split() for line in done.stdout.splitlines())
    assert (ours[0], ours[1]) == ("EulerNet", "4")
    assert cdcn == ["CDCN", "1", "2,245,016", "47.338", "–"]
    assert " ".join(reduced[:-4]) == "FAS-SGTD (64 px, 0.25 of the channels)"
    assert reduced[-4] == "4"
    done = CliRunner().invoke(peers, ["cost", "resnet"])
    assert done.exit_code == 1
    assert "peers/cdcn" in done.output


@pytest.mark.slow
def test_cost_without_a_recipe_is_of_all_systems_and_time_is_of_one_frame(tmp_path: Path) -> None:
    done = CliRunner().invoke(peers, ["cost", "--no-time"])
    assert len(done.stdout.splitlines()) == 1 + 1 + len(NETWORKS)
    (tmp_path / "small.toml").write_text('system = "cdcn"\n[peer]\ninput_px = 64\nwidth_factor = 0.25')
    done = CliRunner().invoke(peers, ["cost", str(tmp_path / "small.toml")])
    *_, ms = done.stdout.splitlines()[1].split()
    assert 0.1 < float(ms) < 1000


def evaluation(folder: Path, model: Path, acer: float, data: str = "simulated", stress: bool = False) -> Path:
    """What the table reads of a report of `eulernet evaluate`."""
    folder.mkdir()
    figures = {name: {"value": acer, "low": acer / 2, "high": 2 * acer} for name in ("acer", "apcer_max", "bpcer")}
    report: dict[str, Any] = {
        "facts": {"model": str(model), "data": data},
        "simulated": data == "simulated",
        "protocols": [{"protocol": 1, "summary": {"figures": figures}}],
    }
    if stress:
        report["stress"] = [
            {"apcer": {"frozen": {"value": 0.5}, "moved_fast": None}, "bpcer": {"plain": {"value": 0.1}}}
        ]
    (folder / "metrics.json").write_text(json.dumps(report))
    return folder


def test_the_table_has_cost_budget_and_errors_of_each_system(tmp_path: Path) -> None:
    network = create(1, NetworkConfig(image_size=64))
    settings = {"seed": 7, "augmentation": {"window_px": 32}}
    save(tmp_path / "ours.pt", Checkpoint(network, label="ours", settings=settings, history=[{"frames": 12.0}]))
    (tmp_path / "run").mkdir()
    theirs = checkpoint("cdcn", tmp_path / "run")
    (tmp_path / "run" / "history.csv").write_text("epoch,frames\n1,1000.0\n2,1500.0\n")
    more = settings | {"start_from": "0123"}
    save(tmp_path / "more.pt", Checkpoint(network, label="goes on", settings=more, history=[{"frames": 8.0}]))
    folders = [
        evaluation(tmp_path / "a", tmp_path / "ours.pt", 0.02, stress=True),
        evaluation(tmp_path / "b", theirs, 0.05),
        evaluation(tmp_path / "c", tmp_path / "more.pt", 0.01),
    ]
    files = ["--csv", str(tmp_path / "t.csv"), "--markdown", str(tmp_path / "t.md")]
    done = CliRunner().invoke(peers, ["table", *map(str, folders), *files, "--no-time"])
    assert done.exit_code == 0, done.output
    ours, cdcn, continued = csv.DictReader((tmp_path / "t.csv").read_text().splitlines())
    assert (ours["continued"], continued["continued"]) == ("0", "1")
    assert (ours["system"], ours["seed"], ours["trained_frames"], ours["trained_px"]) == ("EulerNet", "7", "12", "32")
    assert (cdcn["trained_frames"], cdcn["trained_px"], cdcn["acer_p1"], cdcn["ms"]) == ("2500", "32", "0.05", "")
    assert cdcn["system"] == "CDCN (32 px, 0.0625 of the channels)"
    assert (ours["acer_low_p1"], ours["apcer_frozen"], ours["apcer_moved_fast"], cdcn["apcer_frozen"]) == (
        ("0.01", "0.5", "", "")
    )
    text = (tmp_path / "t.md").read_text()
    assert text in done.stdout
    assert "ACER P1 % (simulated)" in text
    assert "| 2.00 (1.00 to 4.00) |" in text
    assert "12 of 32 px |" in text
    assert "8 of 32 px, after earlier runs |" in text
    assert text.count("| EulerNet (ours) |") == text.count("| EulerNet (goes on) |") == 2  # cost, stress
    assert "| CDCN (32 px, 0.0625 of the channels) |" in text
    assert "APCER frozen % (simulated)" in text
    assert load_any(theirs).label in (tmp_path / "t.csv").read_text()


def test_systems_of_the_same_size_have_costs_of_their_own(tmp_path: Path) -> None:
    names = ("cdcn", "fas_sgtd")
    folders = []
    for name in names:
        (tmp_path / name).mkdir()
        folders.append(evaluation(tmp_path / f"of_{name}", checkpoint(name, tmp_path / name), 0.1))
    cdcn, temporal = rows_of(folders, timed=False)
    assert str(cdcn["system"]).startswith("CDCN")
    assert str(temporal["system"]).startswith("FAS-SGTD")
    assert (cdcn["frames"], temporal["frames"]) == (1, 4)
    assert cdcn["parameters"] != temporal["parameters"]


def test_evaluations_that_make_no_table_are_named(tmp_path: Path) -> None:
    theirs = checkpoint("cdcn", tmp_path)
    one = evaluation(tmp_path / "a", theirs, 0.02)
    other = evaluation(tmp_path / "b", theirs, 0.02, data="OULU-NPU")
    graph = evaluation(tmp_path / "c", tmp_path / "peer.onnx", 0.02)
    (tmp_path / "empty").mkdir()
    for folders, message in (
        ([one, other], "different data"),
        ([graph], "needs the checkpoint"),
        ([tmp_path / "empty"], "no report"),
    ):
        done = CliRunner().invoke(peers, ["table", *map(str, folders), "--no-time"])
        assert done.exit_code == 1
        assert message in " ".join(done.output.split())
