# SPDX-License-Identifier: Apache-2.0
"""The code behind the served models, the embedded Triton server, and the assembly of model repositories."""
