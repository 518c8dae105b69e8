# SPDX-License-Identifier: Apache-2.0
"""The wheel: its contents, and the demo, the server and the client from it in an empty folder."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.packaging.conftest import run

PACKAGES = ("eulernet", "eulernet_build", "eulernet_client", "eulernet_core", "eulernet_loadtest", "eulernet_serving")
LIVENESS = {"bona_fide": 0.98, "print": 0.0, "replay": 0.0, "moved_still": 0.02}
pytestmark = [pytest.mark.network, pytest.mark.slow, pytest.mark.timeout(1200)]


def checksums(archive: Path) -> dict[str, int]:
    """CRC-32 of each member."""
    with zipfile.ZipFile(archive) as members:
        return {each.filename: each.CRC for each in members.infolist()}


def test_the_wheel_contains_data_types_and_licences(wheel: Path, root: Path) -> None:
    names = checksums(wheel).keys()
    for folder, source in (
        ("model_repository", "model_repository"),
        ("weights", "training/weights"),
        ("recipes", "training/recipes"),
    ):
        files = [each for each in (root / source).rglob("*") if each.is_file() and "__pycache__" not in each.parts]
        expected = {f"eulernet_core/data/{folder}/{each.relative_to(root / source)}" for each in files}
        assert expected
        assert not expected - names
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert {"LICENSE", "NOTICE"} <= {Path(name).name for name in names if ".dist-info/licenses/" in name}
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {*PACKAGES}
    assert not [name for name in names if "__pycache__" in name]


def test_the_source_distribution_builds_the_same_wheel(wheel: Path, root: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, root, cwd=tmp_path)
    assert checksums(tmp_path / wheel.name) == checksums(wheel)


@contextlib.contextmanager
def served(eulernet: Path, folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """Runs `eulernet serve` on free ports; the address of its gRPC endpoint."""
    ports = ["--grpc-port", "0", "--metrics-port", "0", "--health-port", "0"]
    process = subprocess.Popen(
        [eulernet, "serve", *ports], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"gRPC (127\.0\.0\.1:\d+)", line):
                yield found[1]
                break
        else:
            pytest.fail(f"eulernet serve ended: {''.join(lines)}")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@pytest.mark.triton
def test_the_wheel_serves_in_an_empty_folder(
    wheel: Path, root: Path, cached_face_models: Path, tmp_path: Path, install: Callable[..., Path]
) -> None:
    binaries = install(Path(sys.executable), f"{wheel}[serve,client]", "--constraint", root / "constraints.txt")
    folder, home, scratch = (tmp_path / name for name in ("empty", "home", "scratch"))
    for each in (folder, home, scratch):
        each.mkdir()
    cached = {*cached_face_models.rglob("*")}
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "EULERNET", "XDG"))}
    environment |= {"HOME": str(home), "TMPDIR": str(scratch), "XDG_CACHE_HOME": str(cached_face_models)}
    eulernet = binaries / "eulernet"

    output = run(eulernet, "demo", cwd=folder, environment=environment)
    for name, liveness in LIVENESS.items():
        found = re.search(rf"{name}\.mp4 +\w+ +([\d.]+)", output)
        assert found, output
        assert float(found[1]) == pytest.approx(liveness, abs=0.04)
    demo = folder / "out" / "demo"
    assert {each.name for each in demo.iterdir()} == {"clips", "report.html", "server.log"}

    with served(eulernet, folder, environment) as url:
        answer = run(eulernet, "score", demo / "clips", "--url", url, "--json", cwd=folder, environment=environment)
    scores = {Path(each["path"]).stem: each["liveness"] for each in json.loads(answer)["clips"]}
    assert scores == pytest.approx(LIVENESS, abs=0.04)

    assert {each.name for each in folder.iterdir()} == {"out"}
    assert {each.name for each in (folder / "out").iterdir()} == {"demo", "server.log"}
    assert not [*home.iterdir()]
    assert not [*scratch.iterdir()]
    fresh = {each.relative_to(cached_face_models) for each in {*cached_face_models.rglob("*")} - cached}
    assert {each.parts[0] for each in fresh} <= {"eulernet"}
