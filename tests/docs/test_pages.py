# SPDX-License-Identifier: Apache-2.0
"""The hand-written pages: commands, options, targets, links and Python examples that they name exist."""

import ast
import contextlib
import importlib
import io
import re
import shlex
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest

from docs.generate import drawings
from docs.generate.pages import INCLUDED
from eulernet_core.command_root import GROUP
from eulernet_serving.embedded_server import EmbeddedServer

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted({README, *(ROOT / "docs").glob("*.md"), *(ROOT / source for source in INCLUDED.values())})
GUIDES = [page for page in PAGES if page.name not in ("CHANGELOG.md", "ablation.md")]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
COMMAND = re.compile(r"(?:^|[\s(/])eulernet ([a-z][a-z-]*)(?![\w-])")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def code_of(page: Path) -> list[str]:
    """Lines of code blocks, without their comments, and code spans."""
    text = page.read_text()
    lines = [
        re.sub(r"\s+# .*", "", line)
        for _, block in FENCE.findall(text)
        for line in block.replace("\\\n", " ").splitlines()
    ]
    return [*lines, *(" ".join(span.split()) for span in SPAN.findall(FENCE.sub("", text)))]


def python_examples() -> list[tuple[str, str]]:
    return [
        (f"{page.name}-{number}", block)
        for page in PAGES
        for number, (language, block) in enumerate(FENCE.findall(page.read_text()))
        if language == "python"
    ]


def named_commands(pages: list[Path]) -> set[str]:
    return {name for page in pages for line in code_of(page) for name in COMMAND.findall(line)}


def test_whole_words_are_matched():
    assert COMMAND.findall("$ eulernet perf-data clip.mp4; eulernet perf") == ["perf-data", "perf"]
    assert COMMAND.findall(".venv/bin/eulernet score x") == ["score"]


def test_every_command_is_named_and_every_named_command_exists():
    commands = {point.name for point in entry_points(group=GROUP)}
    assert named_commands(PAGES) - commands == set()
    assert commands - named_commands(GUIDES) == set()


def test_every_option_shown_exists():
    commands = {point.name: point.load() for point in entry_points(group=GROUP)}
    seen = 0
    for page in PAGES:
        for line in code_of(page):
            for call in re.findall(r"(?:^|\s|/)eulernet ([a-z][^#&;|]*)", line):
                words = [word for word in re.split(r"\s", call.partition(" -- ")[0]) if word]
                command = commands[words[0]]
                if isinstance(command, click.Group) and len(words) > 1:
                    command = command.commands.get(words[1], command)
                known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {"--help"}
                used = {word.strip("`.,:[]()").partition("=")[0] for word in words if word.strip("[(").startswith("--")}
                assert used - known - {"--"} == set(), (page.name, line)
                seen += len(used)
    assert seen > 30


def test_every_make_target_named_exists():
    makefile = (ROOT / "Makefile").read_text()
    targets = {name for line in re.findall(r"^\.PHONY:(.*)$", makefile, re.MULTILINE) for name in line.split()}
    named = {name for page in PAGES for line in code_of(page) for name in re.findall(r"\bmake ([a-z][a-z-]*)", line)}
    assert {"demo", "check"} <= named
    assert named - targets == set()


@pytest.mark.parametrize(("name", "example"), python_examples(), ids=lambda value: value if "\n" not in value else "")
def test_python_examples_compile_and_import_exported_names(name, example):
    tree = ast.parse(example, name)
    compile(tree, name, "exec")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            exported = getattr(module, "__all__", dir(module))
            assert {alias.name for alias in node.names} <= set(exported), name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)


@pytest.mark.triton
@pytest.mark.parametrize("page", ["README.md", "docs/quick_start.md"])
def test_examples_run_against_the_real_server(page: str, server: EmbeddedServer, example_clip: Path):
    examples = [block for language, block in FENCE.findall((ROOT / page).read_text()) if language == "python"]
    assert examples
    for example in examples:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(example.replace("localhost:8001", server.url).replace("selfie.mp4", str(example_clip)), {})
        assert re.match(r"(live|attack) 0\.\d+ trained on simulated attacks\n", printed.getvalue())
        assert len(printed.getvalue().splitlines()) == 5


def test_readme_is_short_and_has_a_small_picture():
    text = README.read_text()
    assert len(text.splitlines()) < 150
    pictures = [target for target in LINK.findall(text) if Path(target).suffix in (".png", ".webp")]
    assert pictures
    for target in pictures:
        assert (ROOT / target).stat().st_size < 150_000


def test_links_of_pages_outside_the_site_exist():
    for page in PAGES:
        for target in LINK.findall(FENCE.sub("", page.read_text())):
            path, _, anchor = target.partition("#")
            if "://" in path or path.startswith("reference/"):
                continue  # the site's build checks the generated references
            file = (page.parent / path).resolve() if path else page
            assert file.is_file(), (page.name, target)
            if anchor and not file.is_relative_to(ROOT / "docs" / "reference"):
                assert anchor in anchors(file), (page.name, target)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_error_rate_is_called_simulated():
    """A section with an error rate of ours says that it is simulated."""
    rate = re.compile(r"(?<![.\d])(?!95 %)[\d.]+ %")
    checked = 0
    for page in PAGES:
        for section in re.split(r"^(?=## )", FENCE.sub("", page.read_text()), flags=re.MULTILINE):
            if re.search(r"\b(ACER|APCER|BPCER|EER|AUC)\b", section) and rate.search(section):
                assert "simulated" in section.lower(), (page.name, section[:200])
                checked += 1
    assert checked >= 5


@pytest.mark.parametrize("name", ["house", "frame_path"])
def test_drawings_are_what_their_script_draws(name):
    assert (ROOT / "docs" / "images" / f"{name}.svg").read_text() == getattr(drawings, name)().svg()


def test_shell_examples_can_be_parsed():
    for page in PAGES:
        for language, block in FENCE.findall(page.read_text()):
            if language == "console":
                for line in (
                    re.sub(r"<<END\n.*?^END$", "", block, flags=re.MULTILINE | re.DOTALL)
                    .replace("\\\n", " ")
                    .splitlines()
                ):
                    shlex.split(line, comments=True)


def test_files_named_in_the_guides_exist():
    """Paths from the clone's root exist; a bare file name belongs to some file of the clone."""
    folders = {
        "core",
        "training",
        "build",
        "serving",
        "model_repository",
        "plugins",
        "client",
        "benchmarks",
        "deploy",
        "docs",
        "tests",
    }
    names = {path.name for folder in folders for path in (ROOT / folder).rglob("*.*")}
    seen = 0
    for page in GUIDES:
        for span in SPAN.findall(FENCE.sub("", page.read_text())):
            for path in re.findall(r"[\w./-]+\.(?:py|cuh|cpp|cu|h|onnx|pbtxt|toml|csv|md)\b", span):
                first = path.partition("/")[0]
                if first in folders and "MODEL" not in path:
                    assert (ROOT / path).exists(), (page.name, path)
                    seen += 1
                elif path.endswith((".py", ".cuh", ".cpp", ".cu")) and first != "out":
                    assert Path(path).name in names, (page.name, path)
                    seen += 1
    assert seen > 40
