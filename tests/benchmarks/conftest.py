"""The clone's folder on the path: benchmarks/ is run from there and belongs to no installed package."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
