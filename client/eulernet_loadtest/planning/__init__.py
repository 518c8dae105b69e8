# SPDX-License-Identifier: Apache-2.0
"""Capacity planner: from load tests of one replica to replicas, GPUs and cost.

Modules: measured_service (load tests as service times), processor_sharing (the queueing formula), frame_simulation
(latency of one replica), capacity (sizes and cost), fleet_simulation (gateway, skew, a lost zone), model_check (the
model beside measured runs), plan_tables (what is printed).
"""
