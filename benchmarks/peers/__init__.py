# SPDX-License-Identifier: Apache-2.0
"""This project's server beside the alternatives of its users, with the same weights, JPEGs and scores.

Several ways to score a clip (contest.py). bench.py compares the scores with the clip call's before a way is timed; one
load generator (load.py) measures them round by round, so that other load on the machine affects all of them.
"""
