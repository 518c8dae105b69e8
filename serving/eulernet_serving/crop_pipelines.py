# SPDX-License-Identifier: Apache-2.0
"""DALI pipelines that decode only the face's region of each JPEG; `region_decoding` is the CPU's way.

The Python models of a GPU run `faces`; `frames` and `clips` are serialized for the dali backend of a GPU server, where
a pipeline is the whole model: they resize, and take any STATUS.
"""

from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.data_node import DataNode

from eulernet_core.clip_geometry import CLIP_FRAMES
from eulernet_core.status import NOT_SCORED
from eulernet_core.tensors import CLIP_CHECKED, FACE_SIDE_PX

# A frame that is not scored has a small placeholder as its JPEG; its box belongs to the lost face and may lie outside.
# This corner of the placeholder is decoded instead.
PLACEHOLDER_PX = 8


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
    """One frame of any status to uint8 (256, 256, 3) RGB; the pixels of a frame that is not scored mean nothing.

    Args:
        encoded: uint8 (bytes,), a JPEG.
        box: float32 (4,), px.
        status: int32 scalar.
        device: as for `region`.
    """
    scored = fn.cast((status & int(NOT_SCORED)) == 0, dtype=types.INT32)
    placeholder = types.Constant([0, 0, PLACEHOLDER_PX, PLACEHOLDER_PX], dtype=types.INT32)
    inside = fn.cast(box, dtype=types.INT32) * scored + placeholder * (1 - scored)
    return fn.resize(region(encoded, inside, device), size=[FACE_SIDE_PX, FACE_SIDE_PX], antialias=True)


@pipeline_def  # type: ignore[untyped-decorator]
def faces(decoder: str = "mixed") -> DataNode:
    """For the Python model of a GPU: ENCODED uint8 (bytes,), BOX int32 (4,) px -> uint8 (256, 256, 3) RGB."""
    encoded = fn.external_source(name="ENCODED", dtype=types.UINT8, ndim=1)
    box = fn.external_source(name="BOX", dtype=types.INT32, ndim=1)
    return fn.resize(region(encoded, box, decoder), size=[FACE_SIDE_PX, FACE_SIDE_PX], antialias=True)


@pipeline_def  # type: ignore[untyped-decorator]
def frames(decoder: str = "mixed") -> tuple[DataNode, DataNode]:
    """`face_crop`: CHECKED uint8 (bytes,), FACE_BOX float32 (4,), STATUS int32 (1,) -> FACE (256, 256, 3), STATUS."""
    encoded = fn.external_source(name="CHECKED", dtype=types.UINT8, ndim=1)
    box = fn.external_source(name="FACE_BOX", dtype=types.FLOAT, ndim=1)
    status = fn.external_source(name="STATUS", dtype=types.INT32, ndim=1)
    return face(encoded, box, status[0], decoder), status


@pipeline_def  # type: ignore[untyped-decorator]
def clips(decoder: str = "mixed") -> tuple[DataNode, DataNode]:
    """`clip_crop`: CHECKED_0..3, FACE_BOX float32 (4, 4), STATUS int32 (4,) -> FACE (4, 256, 256, 3), STATUS."""
    encoded = [fn.external_source(name=name, dtype=types.UINT8, ndim=1) for name in CLIP_CHECKED]
    boxes = fn.external_source(name="FACE_BOX", dtype=types.FLOAT, ndim=2)
    status = fn.external_source(name="STATUS", dtype=types.INT32, ndim=1)
    faces = [face(encoded[t], boxes[t], status[t], decoder) for t in range(CLIP_FRAMES)]
    return fn.stack(*faces), status
