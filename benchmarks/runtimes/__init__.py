# SPDX-License-Identifier: Apache-2.0
"""The clip network's time in OpenVINO and ONNX Runtime, without a server."""
