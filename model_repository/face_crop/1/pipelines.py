"""DALI pipelines that decode of each JPEG only the face's region: run by the Python model, or serialized for the dali
backend of a GPU server, where a pipeline is the whole model and so resizes too and takes frames of any status.
"""

from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.data_node import DataNode

FACE_SIDE_PX = 256
NO_FACE = 4  # STATUS flag: from here on a frame is not scored, and a small placeholder stands in for its JPEG
PLACEHOLDER_PX = 8  # what is decoded of it: its box is the lost face's and may lie outside
CLIP_FRAMES = 4


def region(encoded: DataNode, box: DataNode, device: str) -> DataNode:
    """ENCODED uint8 (bytes,), a JPEG, and box int32 (4,) x0, y0, x1, y1 px -> uint8 (h, w, 3) RGB, upright (EXIF).

    Args:
        encoded: the picture, in host memory.
        box: inside the upright picture.
        device: `cpu`, or `mixed` to decode on the GPU.
    """
    return fn.decoders.image_slice(
        encoded, start=box[0:2], end=box[2:4], axis_names="WH", device=device, output_type=types.RGB
    )


def face(encoded: DataNode, box: DataNode, status: DataNode, device: str) -> DataNode:
    """One frame of any status to uint8 (256, 256, 3) RGB; what comes of a frame that is not scored means nothing.

    Args:
        encoded: uint8 (bytes,), a JPEG.
        box: float32 (4,), px.
        status: int32 scalar.
        device: as for `region`.
    """
    scored = fn.cast(status < NO_FACE, dtype=types.INT32)
    placeholder = types.Constant([0, 0, PLACEHOLDER_PX, PLACEHOLDER_PX], dtype=types.INT32)
    inside = fn.cast(box, dtype=types.INT32) * scored + placeholder * (1 - scored)
    return fn.resize(region(encoded, inside, device), size=[FACE_SIDE_PX, FACE_SIDE_PX], antialias=True)


@pipeline_def
def regions():
    """For the Python model: ENCODED uint8 (bytes,), BOX int32 (4,) x0, y0, x1, y1 px -> uint8 (h, w, 3) RGB."""
    encoded = fn.external_source(name="ENCODED", dtype=types.UINT8, ndim=1)
    box = fn.external_source(name="BOX", dtype=types.INT32, ndim=1)
    return region(encoded, box, "cpu")


@pipeline_def
def frames(decoder="mixed"):
    """`face_crop`: CHECKED uint8 (bytes,), FACE_BOX float32 (4,), STATUS int32 (1,) -> FACE (256, 256, 3), STATUS."""
    encoded = fn.external_source(name="CHECKED", dtype=types.UINT8, ndim=1)
    box = fn.external_source(name="FACE_BOX", dtype=types.FLOAT, ndim=1)
    status = fn.external_source(name="STATUS", dtype=types.INT32, ndim=1)
    return face(encoded, box, status[0], decoder), status


@pipeline_def
def clips(decoder="mixed"):
    """`clip_crop`: CHECKED_0..3, FACE_BOX float32 (4, 4), STATUS int32 (4,) -> FACE (4, 256, 256, 3), STATUS."""
    encoded = [fn.external_source(name=f"CHECKED_{t}", dtype=types.UINT8, ndim=1) for t in range(CLIP_FRAMES)]
    boxes = fn.external_source(name="FACE_BOX", dtype=types.FLOAT, ndim=2)
    status = fn.external_source(name="STATUS", dtype=types.INT32, ndim=1)
    faces = [face(encoded[t], boxes[t], status[t], decoder) for t in range(CLIP_FRAMES)]
    return fn.stack(*faces), status
