"""Scores archives: thousands of videos into one table, resumable, with bounded memory.

    async with AsyncClient("localhost:8001") as client:
        summary = await score_batch(client, find_sources("archive"), "scores.parquet")

`eulernet score FOLDER --out scores.parquet` is the same from the command line.
"""

from eulernet_client.batch.pipeline import Settings
from eulernet_client.batch.row import COLUMNS
from eulernet_client.batch.run import Summary, score_batch

__all__ = ["COLUMNS", "Settings", "Summary", "score_batch"]
