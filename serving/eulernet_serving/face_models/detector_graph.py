# SPDX-License-Identifier: Apache-2.0
"""BlazeFace (short range) as one ONNX graph: pixels in, the most prominent face out.

Follows Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs" (2019), and MediaPipe's
decoding: SSD anchors, clipped sigmoid scores, the first round of weighted non-maximum suppression, written with
elementwise operators and reductions over all anchors: no runtime needs NonMaxSuppression, loops or dynamic shapes.
"""

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from eulernet_core.face_box import DETECTOR_SIDE_PX, MIN_SCORE
from eulernet_serving.face_models import wheel_files
from eulernet_serving.face_models.onnx_graph import OnnxGraph
from eulernet_serving.face_models.tflite_to_onnx import convert

KEYPOINT_NAMES = ("right eye", "left eye", "nose tip", "mouth", "right ear", "left ear")  # right = the person's right
# (cells a side, anchors a cell): strides 8 and 16; all anchors are unit squares centred on their cell.
ANCHOR_GRIDS = ((16, 2), (8, 6))
ANCHORS = sum(side * side * count for side, count in ANCHOR_GRIDS)
MIN_IOU = 0.3
_LOGIT_LIMIT = 100.0
_VALUES = 16  # box centre, box size, 6 keypoints, x and y each


def anchor_centres() -> NDArray[np.float32]:
    """Centres of the SSD anchors: fp32 (896, 2), x and y in units of the picture's side, in the network's order."""
    grids = []
    for side, count in ANCHOR_GRIDS:
        y, x = np.mgrid[0:side, 0:side]
        cells = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) / side
        grids.append(np.repeat(cells, count, axis=0))
    centres: NDArray[np.float32] = np.concatenate(grids).astype(np.float32)
    return centres


def build_detector(tflite_data: bytes) -> bytes:
    """Serialised ONNX model of the face detector.

    IMAGE uint8 (N, 128, 128, 3) RGB -> BOX fp32 (N, 4) x0, y0, x1, y1; KEYPOINTS fp32 (N, 6, 2) x, y (order of
    KEYPOINT_NAMES); both in units of the square's side and not clipped to it. SCORE fp32 (N, 1), 0 to 1, of the best
    face; SECOND_SCORE fp32 (N, 1), the best score among boxes that overlap it by less than MIN_IOU.
    There is always a box; below a SCORE of MIN_SCORE, MediaPipe's own threshold, it means nothing.
    """
    g = OnnxGraph()
    pixels = g.add("Transpose", g.add("Cast", "IMAGE", to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
    normal = g.add("Sub", g.add("Mul", pixels, g.scalar(1 / 127.5)), g.scalar(1.0))
    raw = convert(tflite_data, g, normal)
    decode(g, raw["regressors"], raw["classificators"])
    return g.finish(
        "face_detector",
        {"IMAGE": (TensorProto.UINT8, (DETECTOR_SIDE_PX, DETECTOR_SIDE_PX, 3))},
        {"BOX": (4,), "KEYPOINTS": (6, 2), "SCORE": (1,), "SECOND_SCORE": (1,)},
        {
            "source": f"{wheel_files.REQUIREMENT} {wheel_files.DETECTOR.name}",
            "source_sha256": wheel_files.DETECTOR.sha256,
            "license": "Apache-2.0",
        },
    )


def decode(g: OnnxGraph, regressors: str, logits: str) -> None:
    """From the network's raw outputs, fp32 (N, 896, 16) and (N, 896, 1), to the outputs that build_detector names."""
    offsets = np.tile(anchor_centres(), (1, _VALUES // 2))
    offsets[:, 2:4] = 0  # the size is relative to nothing
    values = g.add("Add", g.add("Mul", regressors, g.scalar(1 / DETECTOR_SIDE_PX)), g.constant(offsets))
    centre, size, points = g.add_many("Split", [values, g.ints(2, 2, _VALUES - 4)], 3, axis=2)
    half = g.add("Mul", size, g.scalar(0.5))
    low, high = g.add("Sub", centre, half), g.add("Add", centre, half)
    faces = g.add("Concat", low, high, points, axis=2)

    clipped = g.add("Clip", logits, g.scalar(-_LOGIT_LIMIT), g.scalar(_LOGIT_LIMIT))
    smallest_side = g.add("ReduceMin", size, g.ints(2), keepdims=1)
    has_area = g.add("Cast", g.add("Greater", smallest_side, g.scalar(0.0)), to=TensorProto.FLOAT)
    scores = g.add("Mul", g.add("Sigmoid", clipped), has_area)  # (N, 896, 1), as MediaPipe drops boxes without area

    best_index = g.add("ArgMax", scores, axis=1, keepdims=1)  # (N, 1, 1)
    is_best = g.add("Equal", best_index, g.constant(np.arange(ANCHORS, dtype=np.int64).reshape(1, -1, 1)))
    best_mask = g.add("Cast", is_best, to=TensorProto.FLOAT)
    overlap = _overlap(g, low, high, best_mask)
    best_score = g.add("ReduceMax", scores, g.ints(1), keepdims=1)  # (N, 1, 1)
    # Boxes under the threshold do not take part; where the best one is under it too, it stands alone.
    floor = g.add("Min", best_score, g.scalar(MIN_SCORE))
    joins = g.add("And", g.add("Not", g.add("Less", scores, floor)), g.add("Greater", overlap, g.scalar(MIN_IOU)))
    joins_or_best = g.add("Cast", g.add("Or", joins, is_best), to=TensorProto.FLOAT)
    weights = g.add("Mul", scores, joins_or_best)
    total = g.add("Max", g.add("ReduceSum", weights, g.ints(1), keepdims=0), g.scalar(1e-30))
    merged = g.add("Div", g.add("ReduceSum", g.add("Mul", faces, weights), g.ints(1), keepdims=0), total)  # (N, 16)

    apart = g.add("Cast", g.add("Less", overlap, g.scalar(MIN_IOU)), to=TensorProto.FLOAT)
    second = g.add("ReduceMax", g.add("Mul", scores, apart), g.ints(1), keepdims=0)
    box, keypoints = g.add_many("Split", [merged, g.ints(4, _VALUES - 4)], 2, axis=1)
    g.publish(box, "BOX")
    g.publish(g.add("Reshape", keypoints, g.ints(-1, len(KEYPOINT_NAMES), 2)), "KEYPOINTS")
    g.publish(g.add("Reshape", best_score, g.ints(-1, 1)), "SCORE")
    g.publish(second, "SECOND_SCORE")


def _overlap(g: OnnxGraph, low: str, high: str, best_mask: str) -> str:
    """Intersection over union of every box with the best one: fp32 (N, 896, 1)."""

    def best(value: str) -> str:
        return g.add("ReduceSum", g.add("Mul", value, best_mask), g.ints(1), keepdims=1)

    def area(begin: str, end: str) -> str:
        x, y = g.add_many("Split", [g.add("Relu", g.add("Sub", end, begin)), g.ints(1, 1)], 2, axis=2)
        return g.add("Mul", x, y)

    best_low, best_high = best(low), best(high)
    shared = area(g.add("Max", low, best_low), g.add("Min", high, best_high))
    union = g.add("Sub", g.add("Add", area(low, high), area(best_low, best_high)), shared)
    return g.add("Div", shared, g.add("Max", union, g.scalar(1e-12)))
