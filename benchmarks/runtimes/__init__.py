# SPDX-License-Identifier: Apache-2.0
"""The clip network's time in MNN, ONNX Runtime and OpenVINO, without a server."""
