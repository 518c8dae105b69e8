"""Variants of a fused graph in fp16 and int8, what they cost in error, and what they gain on a CPU."""
