"""Load testing: clips and streams that look like traffic, sent on a schedule, measured from when they were due.

The parts stand apart as in vegeta: traffic (what is sent), pacer (when), attack (by whom), metrics (what came of it),
report (who reads it). perf_analyzer.py runs Triton's own tool beside them.
"""
