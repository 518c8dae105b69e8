# SPDX-License-Identifier: Apache-2.0
"""The container image: its build context, its build, and a check of the built image."""
