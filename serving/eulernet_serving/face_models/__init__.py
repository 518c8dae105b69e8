# SPDX-License-Identifier: Apache-2.0
"""The face detector and the face mesh: fetched from a pinned wheel, converted to ONNX, wrapped for serving."""
