# SPDX-License-Identifier: Apache-2.0
"""The configuration reference: parameters of the served models, training recipes, environment variables."""

import ast
import dataclasses
import importlib
import inspect
import io
import re
import sys
import tokenize
from pathlib import Path
from types import ModuleType
from typing import Any

from tritonclient.grpc.model_config_pb2 import ModelConfig

from docs.generate.markdown import code, escaped, table
from eulernet.learning.settings import Settings, read_settings
from eulernet_core import shipped
from eulernet_serving.triton_config import read_config

EMBEDDED, PRODUCTION, GPU_PIP = "configs/cpu.pbtxt", "config.pbtxt", "configs/gpu_pip.pbtxt"
ONE_STAGE = "configs/cpu_one_stage.pbtxt"
# Who reads a variable, and for what.
VARIABLES = {
    "EULERNET_URL": "Address host:port of the server, or several with a space between, for every command with `--url`. "
    "`eulernet serve -- COMMAND` sets it for COMMAND.",
    "EULERNET_TOKEN": "Bearer token that the commands with `--url` send; read for every request.",
    "EULERNET_TOKEN_FILE": "Path of a file with that token, as `--token-file`; read again when it changes.",
    "EULERNET_LOG_LEVEL": "Level of the served stages' log: `DEBUG`, `INFO` (default), `WARNING` or `ERROR`.",
    "EULERNET_LOG_FORMAT": "Format of the served stages' log: `text` (default) or `json`.",
    "EULERNET_CONTROL_FOLDER": "Folder in which a file `draining` makes the served stages refuse new streams. "
    "`eulernet serve` sets it for its stages.",
    "EULERNET_GPU_DEVICE": "Device of `eulernet serve --gpu`: `cuda` (default), or `cpu`, for tests without a GPU: "
    "torch and DALI run on the CPU in its place.",
    "EULERNET_KEY": "Key of the closed APIs on a GPU node, in the command from `eulernet repository --target gpu`.",
    "XDG_CACHE_HOME": "Parent of the cache folder `eulernet`, which keeps the face models. Default: `~/.cache`.",
}
_INTRODUCTION = """# Configuration reference

This page is generated from the code: from the dataclasses that read each setting, and from the files that ship.

## Parameters of the served models

A model takes its parameters from its configuration: `model_repository/MODEL/configs/cpu.pbtxt` for the embedded server,
`model_repository/MODEL/config.pbtxt` for a GPU node. One parameter is one line:

```text
parameters { key: "threads" value { string_value: "1" } }
```

An unknown name or a value of another type is an error: the model does not load. The columns *embedded* and *GPU node*
show the shipped value; a dash means the default, or a stage in another backend.
"""
_GPU_STAGES = """### Stages of `eulernet serve --gpu`

They read `model_repository/MODEL/configs/gpu_pip.pbtxt`. The locating stages have the parameters above.
"""
_ONE_STAGE = """### Stages of `eulernet serve --one-stage`

They read `model_repository/MODEL/configs/cpu_one_stage.pbtxt`.
"""
_RECIPES = """## Training recipes

`eulernet train` reads one TOML file. A section is a table of the file, such as `[optimizer]`. An unknown name or a
value of another type is an error. The last columns show the shipped recipes' values that differ from the default.
"""
_ENVIRONMENT = """## Environment variables

gRPC's and Triton's own variables apply as well. Proxy variables do not apply to a server on this machine.
"""


@dataclasses.dataclass(frozen=True)
class ServedModel:
    """A served model. `settings`: the dataclass of its parameters, or None for an ensemble; `embedded`: None where
    the embedded server has no such model."""

    name: str
    settings: type | None
    embedded: ModelConfig | None
    production: ModelConfig


def served_models() -> list[ServedModel]:
    """The models of the model repository."""
    folders = sorted(path.parent for path in shipped.model_repository().glob(f"*/{PRODUCTION}"))
    return [
        ServedModel(folder.name, _settings_of(folder), _embedded(folder / EMBEDDED), read_config(folder / PRODUCTION))
        for folder in folders
    ]


def _embedded(path: Path) -> ModelConfig | None:
    return read_config(path) if path.is_file() else None


def recipe_sections() -> dict[str, type]:
    """The sections of a recipe by name; the values outside of any section under the empty name."""
    defaults = Settings()
    sections = {each.name: type(getattr(defaults, each.name)) for each in dataclasses.fields(Settings)}
    return {"": Settings} | {name: kind for name, kind in sections.items() if dataclasses.is_dataclass(kind)}


def configuration_page() -> str:
    """The page."""
    models = served_models()
    parts = [_INTRODUCTION, *(_model_section(model) for model in models if model.settings)]
    parts += [_ONE_STAGE, _stages_table(ONE_STAGE), _GPU_STAGES, _stages_table(GPU_PIP)]
    parts += ["### Batching and instances", _scheduling_table(models)]
    parts += [_RECIPES, *_recipe_tables()]
    parts += [_ENVIRONMENT, table(["variable", "meaning"], [[code(name), text] for name, text in VARIABLES.items()])]
    return "\n\n".join(parts) + "\n"


def notes_of(kind: type) -> dict[str, str]:
    """The source's notes about each field: its docstring's Attributes, `name`: text in it, or the field's comment."""
    notes: dict[str, str] = {}
    for base in reversed([each for each in kind.__mro__ if dataclasses.is_dataclass(each)]):
        names = [each.name for each in dataclasses.fields(base)]
        notes |= {name: text for name, text in _comments(base).items() if name in names}
        document = inspect.cleandoc(base.__doc__ or "")
        notes |= {name: text for name, text in _described(document).items() if name in names}
    return notes


def _settings_of(folder: Path, file: str = "model.py") -> type | None:
    """The class whose fields the stage of a model reads, found through the model's file and the stage's module."""
    model = folder / "1" / file
    if not model.is_file():
        return None
    stage = next(
        each for each in ast.parse(model.read_text()).body if isinstance(each, ast.ImportFrom) and each.level == 0
    )
    stage_class = getattr(_stage_module(str(stage.module)), stage.names[0].name)
    for module in [sys.modules[base.__module__] for base in stage_class.__mro__[:-1]]:  # it may inherit `set_up`
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "read_parameters":
                argument = node.args[1]
                if isinstance(argument, ast.Name):
                    found: type = getattr(module, argument.id)
                    return found
    raise LookupError(f"{stage.module}: no call of read_parameters")


def _stage_module(name: str) -> ModuleType:
    """A stage's module. Triton's own module exists only inside Triton; reading settings needs nothing of it."""
    sys.modules.setdefault("triton_python_backend_utils", ModuleType("triton_python_backend_utils"))
    return importlib.import_module(name)


def _comments(kind: type) -> dict[str, str]:
    """The comments at the ends of the fields' lines."""
    source = inspect.cleandoc("\n" + inspect.getsource(kind))
    comments = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        found = re.match(r"\s+(\w+): .*", token.line)
        if token.type == tokenize.COMMENT and found:
            comments[found.group(1)] = token.string.lstrip("# ")
    return comments


def _described(document: str) -> dict[str, str]:
    """`name: text` of an Attributes section, and "`name`: text;" anywhere else."""
    body, _, attributes = document.partition("\nAttributes:\n")
    found = {}
    for name, text in re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", attributes, re.MULTILINE):
        found[name] = " ".join(text.split())
    for name, text in re.findall(r"`(\w+)`: ((?:(?!; `|\. `|\n\n).)*)", body, re.DOTALL):
        found.setdefault(name, " ".join(text.split()).rstrip(".;"))
    return found


def _summary(kind: type) -> str:
    """The first paragraph of a docstring."""
    return " ".join(inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0].split())


def _model_section(model: ServedModel) -> str:
    assert model.settings is not None
    notes = notes_of(model.settings)
    rows = []
    for each in dataclasses.fields(model.settings):
        values = [_parameter(config, each.name) for config in (model.embedded, model.production)]
        rows.append([code(each.name), _shown(each.default), *values, escaped(notes.get(each.name, ""))])
    return f"### {model.name}\n\n" + table(["parameter", "default", "embedded", "GPU node", "meaning"], rows)


def _stages_table(file: str) -> str:
    """The parameters of the stages that have a configuration file of this name, and code of their own for it."""
    rows = []
    for path in sorted(shipped.model_repository().glob(f"*/{file}")):
        folder, config = path.parents[1], read_config(path)
        kind = _settings_of(folder, config.default_model_filename) if config.default_model_filename else None
        notes = notes_of(kind) if kind else {}
        for each in dataclasses.fields(kind) if kind else ():
            given, meaning = _parameter(config, each.name), escaped(notes.get(each.name, ""))
            rows.append([code(folder.name), code(each.name), _shown(each.default), given, meaning])
    return table(["model", "parameter", "default", "shipped", "meaning"], rows)


def _parameter(config: ModelConfig | None, name: str) -> str:
    return code(config.parameters[name].string_value) if config is not None and name in config.parameters else "–"


def _scheduling_table(models: list[ServedModel]) -> str:
    rows = []
    for model in models:
        for where, config in (("embedded", model.embedded), ("GPU node", model.production)):
            if config is None:
                continue
            backend = config.backend or config.platform
            instances = ", ".join(str(group.count) for group in config.instance_group) or "–"
            rows.append([code(model.name), where, backend, str(config.max_batch_size), instances, _batching(config)])
    return table(["model", "configuration", "backend", "max_batch_size", "instances", "batching"], rows)


def _batching(config: ModelConfig) -> str:
    if config.HasField("sequence_batching"):
        sequences = config.sequence_batching
        idle_s = sequences.max_sequence_idle_microseconds / 1e6
        return (
            f"sequences: at most {sequences.oldest.max_candidate_sequences}, closed after {idle_s:g} s without a frame"
        )
    if config.HasField("dynamic_batching"):
        delay = config.dynamic_batching.max_queue_delay_microseconds
        return f"dynamic, waits at most {delay} µs" if delay else "dynamic, does not wait"
    return "–"


def _recipe_tables() -> list[str]:
    recipes = {path.stem: read_settings(path) for path in sorted(shipped.recipes().glob("*.toml"))}
    tables = []
    for section, kind in recipe_sections().items():
        notes, rows = notes_of(kind), []
        for each in dataclasses.fields(kind):
            default = getattr(kind(), each.name)
            if dataclasses.is_dataclass(default):
                continue
            values = [
                getattr(getattr(recipe, section) if section else recipe, each.name) for recipe in recipes.values()
            ]
            shown = ["" if value == default else _shown(value) for value in values]
            rows.append([code(each.name), _shown(default), *shown, escaped(notes.get(each.name, ""))])
        title = f"### [{section}] {{#recipe-{section}}}" if section else "### Outside of any section"
        tables += [title, escaped(_summary(kind)), table(["setting", "default", *map(code, recipes), "meaning"], rows)]
    return tables


def _shown(value: Any) -> str:
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else None
    return code(text or (repr(list(value)) if isinstance(value, tuple) else str(value)))
