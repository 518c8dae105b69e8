# SPDX-License-Identifier: Apache-2.0
"""Carries wheels to a GPU machine without a network, in loads of limited size: download, split, join, install.

    python benchmarks/gpu/wheel_pieces.py download out/gpu_wheels
    python benchmarks/gpu/wheel_pieces.py shrink out/gpu_wheels                  # xz halves them, and takes minutes
    python benchmarks/gpu/wheel_pieces.py split out/gpu_wheels out/gpu_pieces    # one folder a load: 00, 01, …
    python benchmarks/gpu/wheel_pieces.py join out/gpu_pieces out/gpu_wheels     # there, when all folders are there
    python benchmarks/gpu/wheel_pieces.py install out/gpu_wheels --venv .venv    # there; torch is the machine's

`split`, `join` and `install` need only Python's standard library: the machine has no package of this project before.
"""

import argparse
import copy
import hashlib
import json
import lzma
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

LOAD_BYTES = 64 << 20
LIST = "pieces.json"  # in every load: all pieces of all files, with checksums
ROOT = Path(__file__).resolve().parents[2]
DALI = "nvidia-dali-cuda120"  # installed here; half as large for CUDA 13
EXTRAS = "serve,client,loadtest,bench"
TESTING = ("pytest", "pytest-timeout", "pytest-asyncio", "polygraphy", "onnx-graphsurgeon", "psutil", DALI)
LEFT_OUT = ("torch", "litserve")  # the machine has its own torch; the other peer is not measured
XZ = ".xz"


class PiecesError(Exception):
    """Pieces are missing or damaged; the message names them."""


def sha256_of(path: Path) -> str:
    """Of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def split(source: Path, out: Path, load_bytes: int = LOAD_BYTES) -> list[Path]:
    """Cuts the files of a folder into loads.

    Args:
        source: folder of files.
        out: folder of the loads; replaced.
        load_bytes: the most of one load, its list included.
    Returns: the folders of the loads.
    Raises: PiecesError where there is nothing to split.
    """
    files = sorted(path for path in source.iterdir() if path.is_file())
    if not files:
        raise PiecesError(f"{source}: no files; download them first")
    shutil.rmtree(out, ignore_errors=True)
    listed = [{"name": path.name, "bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in files]
    text = json.dumps(listed)
    room = load_bytes - len(text.encode())
    if room <= 0:
        raise PiecesError(f"loads of {load_bytes} bytes can't even hold the list of {len(files)} files")
    loads: list[Path] = []
    left = 0
    for path in files:
        with path.open("rb") as file:
            number = 0
            while piece := file.read(left or room):
                if not left:
                    loads.append(out / f"{len(loads):02d}")
                    loads[-1].mkdir(parents=True)
                    (loads[-1] / LIST).write_text(text)
                    left = room
                (loads[-1] / f"{path.name}.{number:03d}").write_bytes(piece)
                left, number = left - len(piece), number + 1
    return loads


def join(loads: Path, out: Path) -> list[Path]:
    """Puts the files together again and checks them.

    Args:
        loads: folder with the folders of all loads.
        out: folder for the files.
    Raises: PiecesError naming each file that is damaged or lacks a piece.
    """
    lists = sorted(loads.glob(f"*/{LIST}"))
    if not lists:
        raise PiecesError(f"{loads}: no loads; carry them first")
    out.mkdir(parents=True, exist_ok=True)
    wrong = []
    made = []
    for each in json.loads(lists[0].read_text()):
        target = out / each["name"]
        # Sorted by the load, then by the piece: a file's pieces go on in the next load.
        pieces = sorted(loads.glob(f"*/{each['name']}.[0-9][0-9][0-9]"), key=lambda path: path.suffix)
        with target.open("wb") as file:
            for piece in pieces:
                file.write(piece.read_bytes())
        if sha256_of(target) != each["sha256"]:
            wrong.append(f"{each['name']}: {target.stat().st_size} of {each['bytes']} bytes in {len(pieces)} pieces")
            target.unlink()
        else:
            made.append(_expanded(target) if target.suffix == XZ else target)
    if wrong:
        raise PiecesError("; ".join(wrong))
    return made


def _expanded(path: Path) -> Path:
    target = path.with_suffix("")
    with lzma.open(path) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file)
    path.unlink()
    return target


def requirements(extras: str = EXTRAS, without: Sequence[str] = ()) -> list[str]:
    """`name==version` of everything that the extras need, as installed here, without some packages and what only they
    need."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, str] = {}
    asked = [Requirement(f"eulernet[{extras}]"), *map(Requirement, TESTING)]
    seen = set()
    while asked:
        wanted = asked.pop()
        name = canonicalize_name(wanted.name)
        for extra in ("", *wanted.extras):
            if name in (*LEFT_OUT, *without) or (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                installed = metadata.distribution(name)
            except metadata.PackageNotFoundError:
                raise PiecesError(f"{name} is not installed here: make .venv/test.stamp") from None
            found[name] = f"{name}=={installed.version}"
            for each in map(Requirement, installed.requires or ()):
                if each.marker is None or each.marker.evaluate({"extra": extra}):
                    asked.append(each)
    return sorted(line for name, line in found.items() if name != "eulernet")


def download(out: Path, python: str, dali: str = DALI, without: Sequence[str] = ()) -> None:
    """Fetches the wheels with pip, and builds this project's.

    Args:
        out: folder for them.
        python: version of the machine's Python, such as 3.12.
        dali: the package of DALI.
        without: packages that the machine has.
    Raises: subprocess.CalledProcessError, PiecesError.
    """
    out.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out), str(ROOT)], check=True)
    target = ["--python-version", python, "--only-binary=:all:"]
    for platform in ("manylinux_2_35_x86_64", "manylinux_2_28_x86_64", "manylinux2014_x86_64", "linux_x86_64"):
        target += ["--platform", platform]
    fetch = [*pip, "download", "--quiet", "--dest", str(out), *target]
    subprocess.run([*fetch, "--no-deps", *requirements(without=[DALI, *without])], check=True)
    # With the packages that it needs: those of another CUDA are not installed here.
    named = f"{dali}=={metadata.version(DALI)}"
    subprocess.run([*fetch, "--constraint", str(ROOT / "constraints.txt"), named], check=True)


def shrink(folder: Path) -> None:
    """Replaces each wheel by an xz file of the same wheel without a compression of its own."""
    for path in sorted(folder.glob("*.whl")):
        plain = path.with_suffix(".stored")
        with zipfile.ZipFile(path) as wheel, zipfile.ZipFile(plain, "w", zipfile.ZIP_STORED) as stored:
            for each in wheel.infolist():
                entry = copy.copy(each)  # reading needs the old one
                entry.compress_type = zipfile.ZIP_STORED
                stored.writestr(entry, wheel.read(each))
        with plain.open("rb") as source, lzma.open(path.with_name(path.name + XZ), "wb") as target:
            shutil.copyfileobj(source, target)
        plain.unlink()
        path.unlink()


def install(wheels: Path, venv: Path) -> None:
    """Installs the wheels beside the machine's own torch. Raises: subprocess.CalledProcessError."""
    if not (venv / "bin" / "python").is_file():
        subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", str(venv)], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, *map(str, sorted(wheels.glob("*.whl")))], check=True)


def main(arguments: list[str] | None = None) -> int:
    """The command. Exit status: 0 done, 1 something is missing or damaged, 2 wrong usage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    positional = {
        "download": ("wheels",),
        "shrink": ("wheels",),
        "split": ("source", "out"),
        "join": ("loads", "out"),
        "install": ("wheels",),
    }
    for name, places in positional.items():
        each = commands.add_parser(name)
        for place in places:
            each.add_argument(place, type=Path)
        if name == "download":
            each.add_argument("--dali", default=DALI, help="such as nvidia-dali-cuda130")
            each.add_argument("--without", action="append", default=[], help="package that the machine has; repeatable")
            each.add_argument("--python", default=f"{sys.version_info.major}.{sys.version_info.minor}")
        if name == "split":
            each.add_argument("--load-mib", type=int, default=LOAD_BYTES >> 20)
        if name == "install":
            each.add_argument("--venv", type=Path, default=Path(".venv"))
    given = parser.parse_args(arguments)
    try:
        if given.command == "download":
            download(given.wheels, given.python, given.dali, given.without)
        elif given.command == "shrink":
            shrink(given.wheels)
        elif given.command == "split":
            for load in split(given.source, given.out, given.load_mib << 20):
                print(load, sum(path.stat().st_size for path in load.iterdir()))
        elif given.command == "join":
            for path in join(given.loads, given.out):
                print(path)
        else:
            install(given.wheels, given.venv)
    except (PiecesError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
