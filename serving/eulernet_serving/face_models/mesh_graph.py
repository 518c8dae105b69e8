# SPDX-License-Identifier: Apache-2.0
"""The 468-point face mesh as one ONNX graph.

Follows Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs" (2019); the network
and the order of the points are MediaPipe's.
"""

from onnx import TensorProto

from eulernet_serving.face_models import wheel_files
from eulernet_serving.face_models.onnx_graph import OnnxGraph
from eulernet_serving.face_models.tflite_to_onnx import convert

SIDE_PX = 192
POINTS = 468
# The network was trained on squares this many times the detector's box, turned so that the eyes are level.
CROP_SCALE = 1.5
NOSE_TIP, RIGHT_EYE_OUTER, LEFT_EYE_OUTER, UPPER_LIP, CHIN, RIGHT_EAR, LEFT_EAR = 1, 33, 263, 13, 152, 234, 454
_LANDMARKS, _PRESENCE = "conv2d_21", "conv2d_31"


def build_mesh(tflite_data: bytes) -> bytes:
    """Serialised ONNX model of the face mesh.

    FACE uint8 (N, 192, 192, 3) RGB -> LANDMARKS fp32 (N, 468, 3), x (right), y (down), z (away from the camera), in
    units of the crop's side, z relative to the head's middle; PRESENCE fp32 (N, 1), 0 to 1, that the crop holds a face.
    """
    g = OnnxGraph()
    pixels = g.add("Transpose", g.add("Cast", "FACE", to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
    raw = convert(tflite_data, g, g.add("Mul", pixels, g.scalar(1 / 255)))
    scaled = g.add("Mul", raw[_LANDMARKS], g.scalar(1 / SIDE_PX))
    g.publish(g.add("Reshape", scaled, g.ints(-1, POINTS, 3)), "LANDMARKS")
    g.publish(g.add("Sigmoid", g.add("Reshape", raw[_PRESENCE], g.ints(-1, 1))), "PRESENCE")
    return g.finish(
        "face_mesh",
        {"FACE": (TensorProto.UINT8, (SIDE_PX, SIDE_PX, 3))},
        {"LANDMARKS": (POINTS, 3), "PRESENCE": (1,)},
        {
            "source": f"{wheel_files.REQUIREMENT} {wheel_files.MESH.name}",
            "source_sha256": wheel_files.MESH.sha256,
            "license": "Apache-2.0",
        },
    )
