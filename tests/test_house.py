# SPDX-License-Identifier: Apache-2.0
"""Rules of the house: who may import whom, where facts and names live, and how files look."""

import ast
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE, TRAINING, BUILD = "eulernet_core", "eulernet", "eulernet_build"
SERVING, CLIENT, LOADTEST = "eulernet_serving", "eulernet_client", "eulernet_loadtest"
PACKAGES = {
    CORE: "core/eulernet_core",
    TRAINING: "training/eulernet",
    BUILD: "build/eulernet_build",
    SERVING: "serving/eulernet_serving",
    CLIENT: "client/eulernet_client",
    LOADTEST: "client/eulernet_loadtest",
}
MAY_IMPORT = {
    PACKAGES[CORE]: set(),
    PACKAGES[TRAINING]: {CORE},
    PACKAGES[BUILD]: {CORE, TRAINING, SERVING},
    PACKAGES[SERVING]: {CORE},
    PACKAGES[CLIENT]: {CORE},
    PACKAGES[LOADTEST]: {CORE, CLIENT},
    "model_repository": {SERVING},
    "plugins": set(),
}
NO_TORCH = (PACKAGES[CORE], PACKAGES[SERVING], PACKAGES[CLIENT], PACKAGES[LOADTEST], "model_repository")
# The GPU stages hold device memory in torch; nothing else of the service imports these modules.
ON_GPU = {"gpu_pip", "gpu_setup", "gpu_stream_network", "gpu_clip_network", "gpu_detector"}
GENERATED = {".git", ".venv", "out", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}
SOURCE_SUFFIXES = {".py", ".cpp", ".cu", ".cuh", ".h"}


def tracked(*suffixes: str) -> list[Path]:
    """Files of the working tree that git tracks or would track; without git, all but the generated ones."""
    if shutil.which("git") and (ROOT / ".git").exists():
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    else:
        paths = (path for each in ROOT.iterdir() if each.name not in GENERATED for path in (each, *each.rglob("*")))
        names = [str(path.relative_to(ROOT)) for path in paths if "__pycache__" not in path.parts]
    return [path for name in sorted(set(names)) if (path := ROOT / name).suffix in suffixes and path.is_file()]


def imported(path: Path, *, at_import_time: bool = False) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Modules that a file imports, each with the names taken from it.

    Args:
        at_import_time: leave out imports inside functions and those for type checkers.
    """
    nodes = [ast.parse(path.read_text())] if at_import_time else list(ast.walk(ast.parse(path.read_text())))
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module, tuple(alias.name for alias in node.names)
        elif at_import_time and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                nodes += node.orelse
            else:
                nodes += ast.iter_child_nodes(node)


def top_level(path: Path) -> set[str]:
    return {module.split(".")[0] for module, _ in imported(path)}


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_packages_import_only_whom_they_may(folder: str) -> None:
    files = [path for path in tracked(".py") if path.is_relative_to(ROOT / folder)]
    assert files
    own = Path(folder).name
    for path in files:
        assert top_level(path) & set(PACKAGES) - {own} <= MAY_IMPORT[folder], path


@pytest.mark.parametrize("folder", NO_TORCH)
def test_core_service_and_client_need_no_torch(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        if ON_GPU & {path.stem, path.parent.name}:
            continue
        assert "torch" not in top_level(path), path
        assert not any(ON_GPU & set(module.split(".")) for module, _ in imported(path)), path


def test_core_needs_no_opencv() -> None:
    for path in (ROOT / PACKAGES[CORE]).rglob("*.py"):
        assert "cv2" not in top_level(path), path


def module_name(path: Path, package: str) -> str:
    parts = path.relative_to(ROOT / PACKAGES[package]).with_suffix("").parts
    return ".".join([package, *(parts[:-1] if parts[-1] == "__init__" else parts)])


@pytest.mark.parametrize("package", PACKAGES)
def test_no_circle_of_imports(package: str) -> None:
    files = {module_name(path, package): path for path in (ROOT / PACKAGES[package]).rglob("*.py")}
    graph = {
        name: {
            target
            for module, names in imported(path, at_import_time=True)
            for target in (*(f"{module}.{each}" for each in names), module)
            if target in files and target != name and not name.startswith(f"{target}.")
        }
        for name, path in files.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_served_models_are_a_few_lines_without_paths() -> None:
    models = sorted((ROOT / "model_repository").rglob("*.py"))
    assert Counter(path.name for path in models) == {"model.py": 6, "gpu_pip.py": 3, "one_stage.py": 2}
    for path in models:
        assert len(path.read_text().splitlines()) <= 15, path
        assert "sys.path" not in path.read_text(), path


@pytest.mark.parametrize("package", [*PACKAGES.values(), "benchmarks"])
def test_file_names_say_the_content(package: str) -> None:
    names = Counter(path.name for path in (ROOT / package).rglob("*.py"))
    repeated = {name for name, count in names.items() if count > 1} - {"__init__.py", "__main__.py"}
    assert repeated == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed(package: str) -> None:
    assert (ROOT / PACKAGES[package] / "py.typed").is_file()


# A fact, how its second copy would look, and the one file that states it.
FACTS = {
    "STATUS flags": (r"\b(NO_FACE|UNDECODABLE|TOO_LARGE|RELOCATED|SEVERAL_FACES)\s*=\s*\d", "status.py"),
    "frames of a clip": (r"^(CLIP_)?FRAMES\s*=\s*4\b|^T\s*=\s*4\b", "clip_geometry.py"),
    "interval of a clip": (r"^\w*INTERVAL\s*=\s*3\b|every 3rd\b.*\{", "clip_geometry.py"),
    "smallest face": (r"\b15 ?%|MIN_FACE_WIDTH_PERCENT = \d", "limits.py"),
    "live threshold": (r"^\w*(LIVE_THRESHOLD|THRESHOLD)\s*=\s*0\.5\b", "weights_label.py"),
    "letterboxing": (r"def letterbox\(.*side_px", "face_box.py"),
    "video decoding": (r"protocol_whitelist", "video.py"),
    "temporary files": (r"mkstemp\(", "whole_files.py"),
    "JPEG markers": (r'b"\\xff\\xd[89]"', "jpeg_segments.py"),
    "side of the face": (r"^\w*FACE_SIDE_PX\s*=\s*256\b|^FACE_SIZE\s*=\s*256\b", "tensors.py"),
    "equal error rate": (r"def (eer|equal_error_rate)\(", "attack_detection_metrics.py"),
}


@pytest.mark.parametrize("fact", FACTS)
def test_a_fact_is_stated_once(fact: str) -> None:
    pattern, home = FACTS[fact]
    folders = [ROOT / folder for folder in (*PACKAGES.values(), "benchmarks", "model_repository")]
    files = [path for path in tracked(".py") if any(path.is_relative_to(folder) for folder in folders)]
    found = {path.relative_to(ROOT) for path in files if re.search(pattern, path.read_text(), re.MULTILINE)}
    assert found == {Path(PACKAGES[CORE]) / home}


def test_every_source_names_its_licence() -> None:
    for path in tracked(*SOURCE_SUFFIXES):
        first = path.read_text().split("\n", 1)[0]
        assert first.endswith("SPDX-License-Identifier: Apache-2.0") or not path.stat().st_size, path


# Turns of phrase that make a reader parse a sentence twice; CONTRIBUTING.md says how to write instead.
HARD_TO_READ = (
    r"which is what",
    r"not to be had|can(?:no|')t be had",
    r"\b(?:is|are) told (?:by|from)\b|\btold from\b",
    r"\b(?:held|hold|holds) (?:\w+ ){0,4}against\b",
    r"\bstands? in (?:the|a|its|their|docs)\b",
    r"\bwhat (?:they|it) (?:reach|reaches|is not for|are not for)\b",
)


@pytest.mark.parametrize("pattern", HARD_TO_READ)
def test_prose_is_plain(pattern: str) -> None:
    here = Path(__file__)
    for path in tracked(*SOURCE_SUFFIXES, ".md", ".j2", ".toml", ".pbtxt"):
        if path != here:
            text = " ".join(path.read_text().split())
            found = re.search(pattern, text, re.IGNORECASE)
            assert found is None, f"{path.relative_to(ROOT)}: {text[max(0, found.start() - 60) : found.end() + 40]}"


def test_every_make_target_is_documented_in_its_help() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())  # type: ignore[index]
    explained = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert targets == explained


def test_versions_are_pinned() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert line.startswith("#") or re.match(
            r"[\w.\-]+==(\d+!)?[\w.]+( ; python_version [<>=]+ \"3\.\d+\")?$", line
        ), line
