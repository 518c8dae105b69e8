# SPDX-License-Identifier: Apache-2.0
"""Brightness weights of red, green and blue light."""

LUMA = (0.2126, 0.7152, 0.0722)  # ITU-R BT.709
