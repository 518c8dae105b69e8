# SPDX-License-Identifier: Apache-2.0
"""Options that several commands of this package share."""

from pathlib import Path

import click

from eulernet_core.shipped import face_models_folder

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
PICTURE_SUFFIXES = (".png", ".svg", ".pdf", ".jpg")

data_option = click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="Folder in OULU-NPU's layout, real or simulated, or a manifest CSV (path,label,instrument,subject,split).",
)
crops_option = click.option(
    "--crops", type=FOLDER, default="out/crops", show_default=True, help="Folder of the cached face crops."
)
face_models_option = click.option(
    "--face-models",
    type=FOLDER,
    default=face_models_folder,
    show_default="the user's cache folder",
    help="Folder of face_detector.onnx and face_mesh.onnx, written by `eulernet face-models`.",
)
jobs_option = click.option(
    "--jobs", default=2, show_default=True, type=click.IntRange(1), help="Processes that crop the faces."
)
resamples_option = click.option(
    "--resamples",
    default=2000,
    show_default=True,
    type=click.IntRange(1),
    help="Bootstrap draws for the 95 % intervals.",
)
