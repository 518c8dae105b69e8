"""This project's server beside what its users would run instead, in one run: same weights, same JPEGs, same answers.

Five ways (ways.py), each held against the clip call's scores before it is timed (bench.py), loaded by one generator
(load.py) round by round, so that a machine that grows busy does so to all of them.
"""
