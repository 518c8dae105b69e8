# SPDX-License-Identifier: Apache-2.0
"""Scores archives: thousands of videos into one table, resumable, with bounded memory.

    async with AsyncClient("localhost:8001") as client:
        summary = await score_batch(client, find_sources("archive"), "scores.parquet")

The command is `eulernet score FOLDER --out scores.parquet`. With `engine=ray_engine()` the sources are read on a Ray
cluster, see `eulernet_client.batch.ray_engine`.
"""

from eulernet_client.batch.archive_run import Summary, Watcher, score_batch
from eulernet_client.batch.pipeline import Settings
from eulernet_client.batch.row import COLUMNS

__all__ = ["COLUMNS", "Settings", "Summary", "Watcher", "score_batch"]
