# SPDX-License-Identifier: Apache-2.0
"""The slides' ablation and OULU-NPU's protocols: plan, runs, results and tables (`eulernet ablate`)."""
