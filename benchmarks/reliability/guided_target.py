# SPDX-License-Identifier: Apache-2.0
"""The process that atheris fuzzes: `python -m benchmarks.reliability.guided_target FOLDER` with libFuzzer's options.

It imports the code under test under atheris's eyes, and nothing that has imported it before.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module


def check_one(data: bytes) -> None:
    """Reading any bytes raises nothing, and what decoders get is read as the picture itself was."""
    import numpy as np

    from eulernet_core.jpeg import inspect
    from eulernet_core.status import Status

    header, plain = inspect(np.frombuffer(data, np.uint8))
    if header.status is Status.OK:
        again, same = inspect(plain)
        assert again == header, f"{header} became {again}"
        assert same.tobytes() == plain.tobytes()
    else:
        assert not len(plain)


def main(arguments: Sequence[str]) -> None:
    """Does not return: libFuzzer ends the process."""
    atheris = import_module("atheris")  # optional, and without types
    with atheris.instrument_imports(include=["eulernet_core"]):
        import eulernet_core.jpeg  # noqa: F401
    atheris.Setup(list(arguments), check_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
