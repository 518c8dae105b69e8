"""Measurements against other servers and of our own limits."""
