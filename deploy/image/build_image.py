# SPDX-License-Identifier: Apache-2.0
"""Builds the container image: `python -m deploy.image.build_image --target cpu`.

It puts the build context together (wheel, constraints, face models, and for a GPU the assembled repository) and calls
buildah, podman or docker. pip's configuration enters the build as a secret and stays out of the image.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Collection
from email import message_from_bytes
from pathlib import Path

import click

from eulernet_core.whole_files import replace_folder
from eulernet_serving.face_models.converted import make_face_models
from eulernet_serving.repository_manifest import ManifestError, faults, read_manifest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OUT = ROOT / "out" / "image"
BUILDERS = ("buildah", "podman", "docker")
SCRIPTS = ("Containerfile", "add_debian_packages.py")
SECRETS = Path("/run/secrets")  # in the build
CPU_EXTRAS = ("serve", "client")
_EXTRA = re.compile(r"(?: and )?\bextra == ['\"](?P<name>[\w-]+)['\"]")
PIP_CONF, CA_BUNDLE = "pip.conf", "ca-bundle.pem"
DIRECTORY = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class BuildError(RuntimeError):
    """The image can't be built; the message names the part and the remedy."""


def version() -> str:
    """The distribution's version, as in the chart's appVersion."""
    from importlib import metadata

    return metadata.version("eulernet")


def write_context(context: Path, target: str, gpu_repository: Path | None, face_models: Path) -> None:
    """Writes the build context of a target into `context`, replacing the old one. Raises: BuildError, FetchError."""
    if target == "gpu":
        _check_repository(gpu_repository)

    def fill(fresh: Path) -> None:
        for name in SCRIPTS:
            shutil.copy(HERE / name, fresh)
        shutil.copy(ROOT / "constraints.txt", fresh)
        wheel = _build_wheel(fresh)
        (fresh / "requirements.txt").write_text("".join(f"{each}\n" for each in requirements_of(wheel, CPU_EXTRAS)))
        if target == "gpu":
            assert gpu_repository is not None
            shutil.copytree(gpu_repository, fresh / "gpu_repository")
        else:
            make_face_models(face_models)
            shutil.copytree(face_models, fresh / "face_models")

    replace_folder(context, fill)


def _check_repository(folder: Path | None) -> None:
    """Raises: BuildError where a GPU node could not load the folder."""
    if folder is None:
        raise BuildError("the gpu target needs --gpu-repository: a folder of eulernet repository --target gpu")
    try:
        manifest = read_manifest(folder)
    except ManifestError as error:
        raise BuildError(str(error)) from error
    if manifest.target != "gpu":
        raise BuildError(f"{folder}: a repository for {manifest.target}; eulernet repository --target gpu makes one")
    if found := faults(folder, manifest):
        raise BuildError(f"{folder}: {'; '.join(found)}")


def _build_wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"the wheel can't be built: {(done.stderr or done.stdout).strip()[-2000:]}")
    (wheel,) = folder.glob("eulernet-*.whl")
    return wheel


def requirements_of(wheel: Path, extras: Collection[str]) -> list[str]:
    """What a wheel needs with these extras, as lines for pip; other markers, such as of Python's version, stay."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        metadata = message_from_bytes(archive.read(name))
    found = []
    for line in metadata.get_all("Requires-Dist", []):
        extra = _EXTRA.search(line)
        if extra is None or extra["name"] in extras:
            found.append(_EXTRA.sub("", line).rstrip("; "))
    return found


def write_pip_secrets(folder: Path, pip_conf: Path | None, ca_bundle: Path | None) -> list[str]:
    """Writes the secrets of the build into `folder`; their options for the builder. pip does without them as well."""
    text = pip_conf.read_text() if pip_conf else "[global]\n"
    options = []
    if ca_bundle is not None:
        shutil.copyfile(ca_bundle, folder / CA_BUNDLE)
        options.append(f"--secret=id={CA_BUNDLE},src={folder / CA_BUNDLE}")
        text += "" if pip_conf else f"cert = {SECRETS / CA_BUNDLE}\n"
    (folder / PIP_CONF).write_text(text)
    return [*options, f"--secret=id={PIP_CONF},src={folder / PIP_CONF}"]


def build_command(
    builder: str, context: Path, target: str, tag: str, base: str | None, secrets: list[str]
) -> list[str]:
    """The builder's command line. buildah runs without a daemon or user namespaces, in the host's network."""
    command = [builder, "bud", "--isolation=chroot", "--layers"] if builder == "buildah" else [builder, "build"]
    if builder == "buildah" and base is not None and base.startswith("localhost/"):
        command.append("--pull-never")
    return [
        *command,
        "--network=host",
        f"--target={target}",
        f"--tag={tag}",
        f"--file={context / 'Containerfile'}",
        *([f"--build-arg={target.upper()}_BASE={base}"] if base else []),
        *secrets,
        str(context),
    ]


def find_builder() -> str:
    """The first builder on PATH. Raises: BuildError."""
    for name in BUILDERS:
        if shutil.which(name):
            return name
    raise BuildError(f"none of {', '.join(BUILDERS)} is installed: apt-get install buildah")


def build(target: str, tag: str, base: str | None = None, **options: Path | None) -> None:
    """Builds and tags an image.

    Args:
        target: cpu or gpu.
        tag: name of the image.
        base: another base image than the Containerfile's.
        options: `gpu_repository`, `face_models`, `pip_conf`, `ca_bundle`.
    Raises: BuildError, FetchError.
    """
    builder = find_builder()
    context = OUT / f"context-{target}"
    write_context(
        context, target, options.get("gpu_repository"), options.get("face_models") or ROOT / "out/face_models"
    )
    with tempfile.TemporaryDirectory(prefix="eulernet-secrets-") as folder:
        secrets = write_pip_secrets(Path(folder), options.get("pip_conf"), options.get("ca_bundle"))
        done = subprocess.run(
            build_command(builder, context, target, tag, base, secrets),
            env=os.environ | {"DOCKER_BUILDKIT": "1"},
            check=False,
        )
    if done.returncode:
        raise BuildError(f"{builder} ended with status {done.returncode}; its message is above")


@click.command()
@click.option("--target", type=click.Choice(["cpu", "gpu"]), default="cpu", show_default=True)
@click.option("--tag", help="Name of the image; eulernet:VERSION-TARGET by default.")
@click.option("--base", help="Another base image than the Containerfile's.")
@click.option("--gpu-repository", type=DIRECTORY, help="For gpu: folder of `eulernet repository --target gpu`.")
@click.option("--face-models", type=DIRECTORY, help="For cpu: folder of the face models.")
@click.option("--pip-conf", type=FILE, help="pip's configuration inside the build, such as another index.")
@click.option("--ca-bundle", type=FILE, envvar="PIP_CERT", help="Certificates that pip trusts inside the build.")
def main(target: str, tag: str | None, base: str | None, **options: Path | None) -> None:
    """Build the container image of a replica. Exit status: 0 built, 1 not."""
    tag = tag or f"eulernet:{version()}-{target}"
    try:
        build(target, tag, base, **options)
    except (BuildError, RuntimeError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(tag)


if __name__ == "__main__":
    main()
