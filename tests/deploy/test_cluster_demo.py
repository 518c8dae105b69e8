# SPDX-License-Identifier: Apache-2.0
"""The demonstration of two replicas and a gateway: it counts what a killed replica costs, with retries and without."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from deploy.gateway.cluster_demo import LOST, cluster_demo, table
from deploy.gateway.demo_load import Phase, percentile_ms
from tests.deploy.gateway_cluster import need_tools

SHORT = ["--seconds", "5", "--streams", "2", "--callers", "1"]
BUSY = ("--streams", "6", "--callers", "4")  # so that the killed replica has something to lose


@pytest.mark.slow
@pytest.mark.triton
@pytest.mark.timeout(500)
@pytest.mark.parametrize(("options", "status"), [((), 0), (("--no-retry", *BUSY), 1)])
def test_a_killed_replica_costs_nothing_but_without_retries(
    demo_clips: Path, options: tuple[str, ...], status: int
) -> None:
    need_tools()
    done = CliRunner().invoke(cluster_demo, [*map(str, sorted(demo_clips.glob("*.mp4"))), *SHORT, *options])
    assert done.exit_code == status, done.output
    assert "replica 1 is back" in done.output


def test_the_table_has_all_that_can_be_lost() -> None:
    phase = Phase("killed")
    phase.counts.update(dict.fromkeys(LOST, 7))
    shown = table([phase])
    cells = dict(zip(shown.columns[0].cells, shown.columns[1].cells, strict=True))
    assert {cells[each.replace("_", " ")] for each in LOST} == {"7"}


def test_percentiles_are_in_milliseconds() -> None:
    assert percentile_ms([0.1, 0.2, 0.3], 50) == pytest.approx(200)
    assert percentile_ms([], 50) != percentile_ms([], 50)
