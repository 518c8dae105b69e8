# SPDX-License-Identifier: Apache-2.0
"""Parts of the engine on Ray that need no cluster: the worker on the real server, what it is told, what it answers."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from eulernet_client import AsyncClient, Token
from eulernet_client._requests import ServedModel
from eulernet_client.batch import Settings
from eulernet_client.batch.pipeline import Pipeline
from eulernet_client.batch.ray_actors import Answer, Stop, block_size
from eulernet_client.batch.ray_cluster import check_ray
from eulernet_client.batch.ray_engine import RayEngine, _take, ray_engine
from eulernet_client.batch.ray_worker import ArchiveWorker, Job, OneCpu
from eulernet_client.batch.row import Scored
from eulernet_client.batch.weights import served_model
from eulernet_client.errors import (
    BatchStoppedError,
    CredentialsError,
    NotAVideoError,
    OtherWeightsError,
    RayClusterError,
    ServerUnavailableError,
    WorkerDiedError,
)
from eulernet_serving.embedded_server import EmbeddedServer

MODEL = ServedModel("label", "0123456789abcdef fp32")
NOWHERE = "127.0.0.1:9"


async def ask(job: Job, *paths: Path) -> dict[str, Any]:
    """The worker's answer to one block, over pickle as Ray sends the job."""
    worker = ArchiveWorker(pickle.loads(pickle.dumps(job)))
    assert await worker.ready() == socket.gethostname()
    found: dict[str, Any] = json.loads(await worker.score(json.dumps([str(path) for path in paths])))
    assert found["host"] == socket.gethostname()
    return found


@pytest.mark.triton
async def test_worker_answers_the_rows_of_the_local_pipeline(
    server: EmbeddedServer, archive: Callable[[int], list[Path]], tmp_path: Path
) -> None:
    paths = [*archive(3), tmp_path / "gone.mp4", tmp_path / os.fsdecode(b"gone \xff.mp4")]
    async with AsyncClient(server.url) as client:
        model = await served_model(client)
        found = await ask(Job.of(client, OneCpu(1, 1, 2), model), *paths)
        local = [await Pipeline(client, Settings(), model.weights).score(path) for path in paths]
    assert len(found["answers"]) == 5
    for answer, expected in zip(found["answers"], local, strict=True):
        assert (answer["mark"], answer["final"]) == (expected.mark, expected.final)
        row, row_here = answer["row"], expected.row
        assert row["seconds"] >= 0
        assert row["liveness"] == (row_here["liveness"] and pytest.approx(row_here["liveness"], abs=1e-5))
        for each in (row, row_here):
            del each["seconds"], each["liveness"], each["clip_liveness"]
        assert row == row_here


@pytest.mark.triton
async def test_worker_that_may_not_score_says_why(
    server: EmbeddedServer, archive: Callable[[int], list[Path]], tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    async with AsyncClient(server.url, token=Token(file=token)) as client:
        job = Job.of(client, OneCpu(1, 1, 2), await served_model(client))
    (path,) = archive(1)
    assert "answers" in await ask(job, path)
    assert (await ask(replace(job, model=MODEL), path))["stop"]["type"] == "OtherWeightsError"
    assert (await ask(replace(job, version="0.0.1"), path))["stop"]["type"] == "RayClusterError"
    token.unlink()
    stop = (await ask(job, path))["stop"]
    assert stop["type"] == "CredentialsError"
    assert str(token) in stop["text"]


async def test_worker_without_a_server_answers_the_error_in_the_row(tmp_path: Path, make: Any) -> None:
    video = make.video(tmp_path / "a.mp4", 12)
    async with AsyncClient(NOWHERE, timeout_s=0.5) as client:
        (answer,) = (await ask(Job.of(client, OneCpu(1, 1, 2), MODEL), video))["answers"]
    assert answer["row"]["error_type"] == ServerUnavailableError.__name__
    assert answer["final"] is False


def test_job_holds_places_of_secrets_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THE_TOKEN", "secret-in-variable")
    Path("token").write_text("secret-in-file")
    for token in (Token(file="token"), Token(variable="THE_TOKEN")):
        job = Job.of(AsyncClient(NOWHERE, token=token), Settings(), MODEL)
        assert b"secret" not in pickle.dumps(job)
    assert Job.of(AsyncClient(NOWHERE, token=Token(file="token")), Settings(), MODEL).client["token"].file == str(
        tmp_path / "token"
    )
    for given in ({"token": "secret"}, {"headers": {"Authorization": "Bearer secret"}}):
        with pytest.raises(CredentialsError) as caught:
            Job.of(AsyncClient(NOWHERE, **given), Settings(), MODEL)
        assert "secret" not in str(caught.value)


def test_a_worker_s_client_has_the_arguments_of_the_run(tmp_path: Path) -> None:
    given = AsyncClient(
        ["a:1", "b:2"], timeout_s=7, headers={"x-tenant": "t"}, retry=False, max_frame_mb=3, plain_text_token=True
    )
    job = Job.of(given, Settings(), MODEL)
    assert AsyncClient(**job.client)._session.connection == given._session.connection


@pytest.mark.parametrize(
    ("sources", "actors", "size"),
    [
        (1, 1, 1),
        (43, 2, 2),
        (10_000, 2, 8),  # no more than a killed run may repeat
        (100, 64, 1),  # every actor has work until the end
    ],
)
def test_block_size(sources: int, actors: int, size: int) -> None:
    assert block_size(sources, actors) == size


def row_of(path: Path, error: Exception | None = None) -> dict[str, Any]:
    row: dict[str, Any] = {"path": str(path), "error_type": None, "error": None, "frames": 4}
    return row if error is None else {**row, "error_type": type(error).__name__, "error": str(error)}


def taken(item: Answer | Stop, source: Path) -> Scored:
    """What the run's side passes on for an answer about `source`."""
    passed: list[Scored] = []
    _take(item, {7: source}, lambda path, scored: passed.append(scored), MODEL)
    (scored,) = passed
    return scored


def test_rows_name_sources_as_the_user_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    error = NotAVideoError(f"{tmp_path}/a.mp4: not a video")
    answer = Answer(7, "node", {"row": row_of(tmp_path / "a.mp4", error), "mark": "m", "final": True})
    scored = taken(answer, Path("a.mp4"))
    assert (scored.row["path"], scored.row["error"]) == ("a.mp4", "a.mp4: not a video")
    assert (scored.mark, scored.final) == ("m", True)
    assert isinstance(scored.error, NotAVideoError)
    unexpected = Answer(7, "node", {"row": row_of(tmp_path / "a.mp4", ValueError("odd")), "mark": "", "final": False})
    assert taken(unexpected, Path("a.mp4")).row["error_type"] == "ValueError"


def test_node_without_the_archive_stops_the_run(tmp_path: Path) -> None:
    gone = {"path": "", "error_type": "MissingFileError", "error": "gone", "frames": 0}
    answer = Answer(7, "node-3", {"row": gone, "mark": "", "final": False})
    assert taken(answer, tmp_path / "gone.mp4").row["error_type"] == "MissingFileError"
    (tmp_path / "here.mp4").touch()
    with pytest.raises(BatchStoppedError, match="node-3"):
        taken(answer, tmp_path / "here.mp4")


def test_source_given_up_has_a_row_that_a_later_run_repeats(tmp_path: Path) -> None:
    scored = taken(Answer(7), tmp_path / "a.mp4")
    assert isinstance(scored.error, WorkerDiedError)
    assert (scored.row["verdict"], scored.row["weights"], scored.final) == (None, MODEL.weights, False)


@pytest.mark.parametrize(
    ("kind", "raised"),
    [("OtherWeightsError", OtherWeightsError), ("CredentialsError", CredentialsError), ("KeyError", BatchStoppedError)],
)
def test_worker_s_reason_to_stop_is_raised(kind: str, raised: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(raised, match="the reason"):
        taken(Stop("node", kind, "the reason"), tmp_path)


@pytest.mark.parametrize("address", ["ray://head:10001", "http://head:8265"])
def test_addresses_for_connections_from_outside_are_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("ray") is None:
        pytest.skip("needs ray: pip install 'eulernet[ray]'")
    with pytest.raises(RayClusterError, match="ray job submit"):
        check_ray(address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(RayClusterError, match="ray job submit"):
        ray_engine()
    ray_engine("auto")


# A machine without the extra: no module `ray` is found.
WITHOUT_RAY = """
from importlib import util
found = util.find_spec
util.find_spec = lambda name, package=None: None if name == "ray" else found(name, package)
from eulernet_client.score_command import score
score()
"""


def test_command_without_ray_names_the_extra(tmp_path: Path) -> None:
    arguments = ["clip.mp4", "--out", str(tmp_path / "t.csv"), "--ray"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RAY, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "pip install 'eulernet[ray]'" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [["--ray"], ["--ray-address", "auto", "--out", "t.csv"]])
def test_options_that_need_another(options: list[str]) -> None:
    command = [sys.executable, "-m", "eulernet_client", "score", "clip.mp4", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "need" in done.stderr


def test_nothing_to_score_starts_no_ray(tmp_path: Path) -> None:
    """An engine on an address where nothing is returns at once without sources."""
    job = Job.of(AsyncClient(NOWHERE), Settings(), MODEL)
    rows: list[object] = []
    asyncio.run(RayEngine(job, "127.0.0.1:9", None).run([], lambda path, scored: rows.append(scored)))
    assert rows == []
