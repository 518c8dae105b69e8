# SPDX-License-Identifier: Apache-2.0
"""The stages' work on a GPU without a container: crops, networks and the streams' state in device memory.

The only modules of this package that import torch, which holds the device memory.
"""
