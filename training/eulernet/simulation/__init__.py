"""A simulator of OULU-NPU: short videos of drawn heads, of their prints and of their replays, through drawn cameras."""
