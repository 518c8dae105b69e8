# SPDX-License-Identifier: Apache-2.0
"""Reading the clips of H.264 videos, compared with PyAV, torchcodec and another version of this project."""
