"""Puts together what the embedded Triton server loads: the model repository's sources and the face detector's graph."""

import shutil
import tempfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from eulernet_build.face_models.models import make_face_models

SHIPPED_WEIGHTS = Path("training/weights/eulernet.pt")  # in the clone
GENERATED = shutil.ignore_patterns("__pycache__", "*.pyc", ".gitkeep")


class RepositoryError(Exception):
    """The repository can't be put together; the message says what is missing."""


def checkout() -> Path:
    """The clone's folder. Raises RepositoryError where the package runs from elsewhere."""
    root = Path(__file__).resolve().parents[2]
    if not (root / "model_repository").is_dir():
        raise RepositoryError(
            f"no model_repository/ beside {Path(__file__).parent}: serve from a clone (pip install -e '.[serve]'), "
            "or name a repository with --repository"
        )
    return root


def served_module(path: Path) -> ModuleType:
    """A Python file of model_repository/, which is no package. Raises: RepositoryError where it is missing."""
    spec = spec_from_file_location(f"eulernet_served_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise RepositoryError(f"{path}: missing; take it from the clone")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assemble(out: Path, source: Path | None = None, face_models: Path | None = None) -> Path:
    """Writes a complete repository to `out`, replacing what is there in one step.

    Args:
        out: the repository's folder.
        source: the sources; the clone's model_repository/ by default.
        face_models: where the converted face models lie or are put; `face_models` beside `out` by default.
    Returns: `out`.
    Raises: RepositoryError; FetchError where the face models can't be had.
    """
    source = source or checkout() / "model_repository"
    face_models = face_models or out.parent / "face_models"
    make_face_models(face_models)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        fresh = Path(scratch) / "new"
        shutil.copytree(source, fresh, ignore=GENERATED)
        for model in fresh.iterdir():
            (model / "1").mkdir(exist_ok=True)  # ensembles have a version folder with nothing in it
        shutil.copy(face_models / "face_detector.onnx", fresh / "face_detector" / "1" / "model.onnx")
        for graph in ("eulernet", "eulernet_clip"):
            if not (fresh / graph / "1" / "model.onnx").is_file():
                raise RepositoryError(f"{source / graph}/1/model.onnx is missing: eulernet export writes it")
        if out.exists():
            out.rename(Path(scratch) / "old")
        fresh.rename(out)
    return out
