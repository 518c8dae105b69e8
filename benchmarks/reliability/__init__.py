# SPDX-License-Identifier: Apache-2.0
"""Attacks on the real server beside good callers, and a search for leaks: writes docs/reliability.md."""
