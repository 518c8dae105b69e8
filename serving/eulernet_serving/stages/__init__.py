# SPDX-License-Identifier: Apache-2.0
"""The Python models that Triton loads. Each `model.py` of the model repository names one class of these modules.

Only importable inside Triton, which brings `triton_python_backend_utils`.
"""
