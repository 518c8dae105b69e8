# SPDX-License-Identifier: Apache-2.0
"""Trivial statistics of the documented data set do not distinguish attacks; the table of statistics is checked too."""

from pathlib import Path

import numpy as np

from eulernet.datasets.oulu import Name
from eulernet.simulation.presets import PRESETS
from eulernet.simulation.rendering import make_video
from eulernet.simulation.shortcuts import LIMIT_AUC, NAMES, check, columns, read_table, statistics

# Statistics of the preset `small`, version 3, without the sizes of the faces;
# written by `python -m eulernet.simulation.shortcuts`.
TABLE = Path(__file__).parent / "data" / "shortcut_statistics.csv"


def test_the_table_of_statistics_is_of_this_simulator(tmp_path):
    rows = read_table(TABLE)
    for split, folder, text in (("train", "Train_files", "2_1_03_1"), ("test", "Test_files", "5_3_38_4")):
        name = Name.parse(text)
        (tmp_path / folder).mkdir()
        path = make_video(tmp_path, split, name, 1, PRESETS["small"])
        instrument = "bona_fide" if name.file == 1 else "replay1"
        found = dict(zip(NAMES, statistics(path), strict=True))
        values = [found[name] for name in columns(TABLE)]
        assert np.allclose(values, rows[split][instrument][text], rtol=2e-3, atol=2e-4), text


def test_no_trivial_statistic_tells_an_attack():
    found = check(TABLE)
    assert set(found) == {"print1", "print2", "replay1", "replay2"}
    assert max(found.values()) < LIMIT_AUC, found
    counts = {split: sum(map(len, of_split.values())) for split, of_split in read_table(TABLE).items()}
    assert counts == {"train": 720, "test": 720}
