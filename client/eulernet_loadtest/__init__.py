# SPDX-License-Identifier: Apache-2.0
"""Load tester: sends clips and streams on a schedule and measures latency from the scheduled send.

Modules: traffic (pictures), pacer (schedule), attack (workers), metrics (latency and outcomes), loadtest_report (files
for people). perf_analyzer runs Triton's own load tester for comparison.
"""
