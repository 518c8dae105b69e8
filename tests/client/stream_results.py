# SPDX-License-Identifier: Apache-2.0
"""Comparison of a disturbed stream with an undisturbed one, and what the client logged meanwhile."""

import numpy as np
import pytest


def assert_equal(results, expected):
    """The same scores, counts, boxes and flags, in order, each frame once."""
    assert [result.index for result in results] == list(range(len(expected)))
    assert [result.liveness for result in results] == pytest.approx([each.liveness for each in expected], abs=1e-5)
    for result, each in zip(results, expected, strict=True):
        assert (result.frame_count, result.status, result.box) == (each.frame_count, each.status, each.box)
        np.testing.assert_allclose(result.location_map, each.location_map, atol=1e-5)
        assert not result.started_anew


def events(caplog, event):
    """The logged records of one kind."""
    return [record for record in caplog.records if getattr(record, "event", "") == event]
