# SPDX-License-Identifier: Apache-2.0
"""Where shipped data is found, in a clone and in a wheel, and where the user's cache is."""

from pathlib import Path

import pytest

from eulernet_core import shipped
from eulernet_core.shipped import NotInThisInstallationError

ROOT = Path(__file__).parents[2]


def test_a_clone_serves_its_own_folders():
    assert shipped.model_repository() == ROOT / "model_repository"
    assert shipped.weights() == ROOT / "training" / "weights" / "eulernet.pt"
    assert (shipped.recipes() / "default.toml").is_file()
    assert shipped.clone("model_repository") == ROOT / "model_repository"


def test_a_wheel_serves_its_data_and_is_no_clone(tmp_path, monkeypatch):
    for folder in ("model_repository", "weights", "recipes"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    monkeypatch.setattr(shipped, "_DATA", tmp_path / "data")
    assert shipped.model_repository() == tmp_path / "data" / "model_repository"
    assert shipped.weights() == tmp_path / "data" / "weights" / "eulernet.pt"
    with pytest.raises(NotInThisInstallationError, match="training/results"):
        shipped.clone("training", "results")


def test_an_installation_without_data_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "_DATA", tmp_path / "data")
    monkeypatch.setattr(shipped, "_CLONE", tmp_path)
    with pytest.raises(NotInThisInstallationError, match="model_repository"):
        shipped.model_repository()


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("/var/cache/me", "/var/cache/me/eulernet"),
        ("", "/home/me/.cache/eulernet"),
        ("here", "/home/me/.cache/eulernet"),
    ],
)
def test_the_cache_follows_the_xdg_specification(monkeypatch, variable, expected):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", variable)
    assert shipped.cache_folder() == Path(expected)
    assert shipped.face_models_folder() == Path(expected) / "face_models"
