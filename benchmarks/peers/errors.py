"""What stops the benchmark."""


class BenchError(Exception):
    """Nothing is reported; the message says why and what to do."""
