# SPDX-License-Identifier: Apache-2.0
"""Downloads TensorRT's headers (Apache 2.0) from NVIDIA's repository into out/tensorrt_headers, where build.py looks.

Needs only Python's standard library, as build.py does.
"""

import argparse
import hashlib
import shutil
import sys
import tempfile
import urllib.request
from pathlib import Path

VERSION = "11.1.0"
SOURCE = f"https://raw.githubusercontent.com/NVIDIA/TensorRT/v{VERSION}/include"
OUT = Path(__file__).resolve().parents[2] / "out" / "tensorrt_headers"
TIMEOUT_S = 60.0

SHA256 = {
    "NvInfer.h": "b857831d9c79e9b04e83b65d58a512533ee363f91dbcaec77cba9c7746e8e8b3",
    "NvInferImpl.h": "c6acddec7e286c18e9cd08511553c2015f99c487ca25717790e54e30c18ade79",
    "NvInferLegacyDims.h": "3e10fe5b85545f2e956e6935271badf0b1c72553b698000a61d46d69c5d53030",
    "NvInferPlugin.h": "b3290404a076f3492dc627ffdfc3b1fa803ea0eccc49f23986d645a2d23a63c7",
    "NvInferPluginBase.h": "759f354754e64bf4d1e68d7df796c155c46f8a27541bf1912ba13e79a5a26fc2",
    "NvInferPluginUtils.h": "106692e986b690fd2b3c26f8dab5caa8027b4d3cca6ce6006c5351392f1bded4",
    "NvInferRuntime.h": "e78c2d49516a66f726864904386534f63eacf0ad75a6dfdde7dfa70adf39f797",
    "NvInferRuntimeBase.h": "ec38759dbf8a5538c4cd30890f1764658bc2dcec87e95ac18148e476cbe1671b",
    "NvInferRuntimeCommon.h": "eff4c0251cb4813bbc7fe34c6b28fdb6c08734c27ae53b07974d2557bf1431be",
    "NvInferRuntimePlugin.h": "d4db4236da9c03e543949247a75478b5ce68fc84eb30cd15b35081b94c8d8391",
    "NvInferVersion.h": "8648df4851fb2df1a15d7dfdae6454428c4b119055f65f6a98de8ff806977b2e",
    "NvOnnxConfig.h": "a36f12c8115152f4cec674ab414a3029fcde9871b6ccf33d4f95fb49f1f4fc7a",
    "NvOnnxParser.h": "3c3766d0d9ee5c43887f404513243c376cdb9bf97bde29920a01e71e7e19239f",
    "impl/NvInferPythonPlugin.h": "9b3a1df866a40620ae029af35ea6cdb45d439cffbe4cc21aaf673201c07dcc77",
}


class HeadersError(Exception):
    """The headers can't be downloaded, or differ from the pinned ones."""


def fetch_headers(out: Path = OUT, source: str = SOURCE) -> Path:
    """The folder with NvInfer.h; downloads it the first time.

    Args:
        out: the headers go to its subfolder `VERSION`/include.
        source: address of the folder include/ of NVIDIA's repository, at `VERSION`.
    Raises: HeadersError.
    """
    include = out / VERSION / "include"
    if include.is_dir():
        return include
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".part-") as scratch:
        part = Path(scratch) / VERSION
        for name, expected in SHA256.items():
            path = part / "include" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_download(f"{source}/{name}"))
            if (found := hashlib.sha256(path.read_bytes()).hexdigest()) != expected:
                raise HeadersError(
                    f"{source}/{name}: sha256 is {found}, expected {expected}; set TENSORRT_ROOT instead"
                )
        shutil.rmtree(out / VERSION, ignore_errors=True)
        part.replace(out / VERSION)
    return include


def _download(address: str) -> bytes:
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer:
            data: bytes = answer.read()
            return data
    except OSError as error:  # also urllib's URLError
        raise HeadersError(f"{address}: {error}; set TENSORRT_ROOT to a folder with NvInfer.h") from error


def main() -> int:
    """The command. Exit status: 0 the headers are there, 1 they can't be downloaded."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None).parse_args()
    try:
        print(fetch_headers())
    except HeadersError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
