# SPDX-License-Identifier: Apache-2.0
"""Scores real pictures and videos that Python packages carry, and stills of them held up like a photograph."""
