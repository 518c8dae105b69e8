# SPDX-License-Identifier: Apache-2.0
"""Labelled videos: OULU-NPU's layout, manifests, and the cache of face crops that training reads."""

from eulernet.datasets.manifest import read_manifest
from eulernet.datasets.oulu import read_oulu, read_oulu_split, write_protocols
from eulernet.datasets.records import BONA_FIDE, DatasetError, Label, Problem, Problems, Reading, Split, Video

__all__ = [
    "BONA_FIDE",
    "DatasetError",
    "Label",
    "Problem",
    "Problems",
    "Reading",
    "Split",
    "Video",
    "read_manifest",
    "read_oulu",
    "read_oulu_split",
    "write_protocols",
]
