"""Scores data sets with what is at hand: a checkpoint, an exported graph, a running server."""
