"""Who may import whom, what may be how long, and where the heavy libraries live."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "minivault"

#: From the bottom to the top: a room may import what stands above its own line here, and itself,
#: but not its neighbours in the same line.
LAYERS = [
    {
        "errors",
        "size",
        "sentence_end",
        "stage",
        "stop_strings",
        "console_log",
        "trace",
        "standard_streams",
        "key_strength",
        "listed",
        "merkle",
        "system",
    },
    {"libraries", "background", "steering"},
    {"schemas", "settings", "resources", "gguf", "client"},
    {"text_request"},
    {"parsing", "backends.base", "variables", "open_files"},
    {"vault", "model_store", "engine", "metrics"},
    {"backends"},
    {"generations"},
    {"loading"},
    {"service"},
    {"web"},
    {"app"},
    {"http1"},
    {"protocol", "bench"},
    {"server", "doctor"},
    {"cluster"},
    {"cli"},
    {"__main__"},
]

#: A library and the only rooms or modules that may know it.
HOMES = {
    "torch": {"engine", "backends.local"},
    "transformers": {"engine", "backends.local"},
    "starlette": {"web", "app", "cluster.replica"},
    "sse_starlette": {"web.sse"},
    "uvicorn": {"server", "protocol"},
    "typer": {"cli"},
    "prometheus_client": {"metrics"},
    "huggingface_hub": {"model_store"},
    "obstore": {"vault.publishing.object_store"},
    "cryptography": {"client.proof", "vault"},
    "llguidance": {"engine"},
    "ray": {"cluster.serving", "cluster.replica"},
    "httpx2": {"client", "model_store", "backends.upstream.server", "backends.upstream.backend"},
}

#: Where an import may stand inside a function: what it brings is heavy, and often not needed.
LAZY = {
    "client",
    "engine",
    "bench",
    "cli",
    "doctor",
    "cluster.serving",
    "vault.publishing.bucket",
    "vault.publishing.object_store",
    "vault.signing",
    "vault.tree.cosignature",
    "model_store.files",
    "model_store.store",
    "backends.local",
    "__main__",
}

MAX_FILE = 300
MAX_FUNCTION = 60


@dataclass(frozen=True)
class Import:
    """One imported module, by its full name."""

    module: str
    line: int
    in_function: bool


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


#: Every module of the package by its name without `minivault.`.
MODULES = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def sources() -> dict[str, tuple[str, ast.Module]]:
    """The text of every module, and its tree."""
    texts = {name: path.read_text(encoding="utf-8") for name, path in MODULES.items()}
    return {name: (text, ast.parse(text)) for name, text in texts.items()}


@cache
def imports(module: str) -> tuple[Import, ...]:
    return tuple(_imports(sources()[module][1], in_function=False))


def _imports(node: ast.AST, *, in_function: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, in_function)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: a relative import"
            for alias in child.names:
                full = f"{child.module}.{alias.name}"
                name = full if _is_module(full) else str(child.module)
                yield Import(name, child.lineno, in_function)
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from _imports(child, in_function=in_function or function)


def _is_module(full: str) -> bool:
    return full.startswith("minivault.") and full.removeprefix("minivault.") in MODULES


def ours(module: str) -> list[tuple[str, Import]]:
    """The modules of the package that this one imports."""
    prefix = "minivault."
    return [
        (each.module.removeprefix(prefix), each)
        for each in imports(module)
        if each.module.startswith(prefix)
    ]


def room(module: str) -> str:
    """The room that a module belongs to: `vault`, `backends.base`, `cli`."""
    return module if module == "backends.base" else module.split(".")[0]


def level(module: str) -> int:
    return next(n for n, layer in enumerate(LAYERS) if room(module) in layer)


def within(module: str, places: set[str]) -> bool:
    return room(module) in places or module in places


def test_a_room_imports_only_what_lies_below_it() -> None:
    upward = [
        f"{module}, line {where.line} imports {imported}"
        for module in MODULES
        if module
        for imported, where in ours(module)
        if room(imported) != room(module) and level(imported) >= level(module)
    ]
    assert upward == []


def test_every_room_has_its_place() -> None:
    placed = {room for layer in LAYERS for room in layer}
    assert {room(module) for module in MODULES if module} <= placed


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    """Those for types alone count as well: what cannot be read apart is one thing in two files."""
    graph = {
        module: {name for name, each in ours(module) if not each.in_function} for module in MODULES
    }
    while leaves := {module for module, needs in graph.items() if not needs & graph.keys()}:
        graph = {module: needs for module, needs in graph.items() if module not in leaves}
    assert graph == {}


@pytest.mark.parametrize("library", sorted(HOMES))
def test_a_heavy_library_has_one_home(library: str) -> None:
    strangers = [
        f"{module}, line {each.line}"
        for module in MODULES
        for each in imports(module)
        if each.module.split(".")[0] == library and not within(module, HOMES[library])
    ]
    assert strangers == []


def test_only_named_modules_import_lazily() -> None:
    lazy = [
        f"{module}, line {each.line}"
        for module in MODULES
        for each in imports(module)
        if each.in_function and not within(module, LAZY)
    ]
    assert lazy == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        module
        for module, (text, tree) in sources().items()
        if text.strip() and not ast.get_docstring(tree)
    ]
    assert silent == []


def test_files_are_short() -> None:
    lines = {module: len(text.splitlines()) for module, (text, _) in sources().items()}
    assert {module: count for module, count in lines.items() if count > MAX_FILE} == {}


def test_functions_are_short() -> None:
    long = [
        f"{module}.{function.name}: {length(function)} lines"
        for module, (_, tree) in sources().items()
        for function in functions(tree)
        if length(function) > MAX_FUNCTION
    ]
    assert long == []


def test_most_functions_can_be_seen_at_a_glance() -> None:
    lengths = [length(each) for _, tree in sources().values() for each in functions(tree)]
    assert median(lengths) <= 8


def test_nothing_has_a_vague_name() -> None:
    vague = re.compile(r"Manager|Helper|Util|Handler|Impl$|^Base[A-Z]|helpers|utils")
    classes = [
        node.name
        for _, tree in sources().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]
    assert [name for name in [*classes, *MODULES] if vague.search(name)] == []


@pytest.mark.parametrize(
    "shape, why",
    [
        (r"#\s*type:\s*ignore(?!\[)", "an ignored type error has its name"),
        (r"BaseHTTPMiddleware", "streams pass through pure ASGI middleware only"),
        (r"allow_origins=\[\"\*\"\]", "no site but the named ones may read answers"),
        (r"trust_remote_code=True|pickle\.load|torch\.load", "no model brings code"),
    ],
)
def test_what_must_not_be_there_is_not(shape: str, why: str) -> None:
    assert [module for module in MODULES if re.search(shape, sources()[module][0])] == [], why


def functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of its body, without the docstring."""
    body = function.body
    if ast.get_docstring(function):
        body = body[1:]
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


#: Who may start a thread or a task in another way, and why it is told of their ends all the same.
STARTERS = {
    "standard_streams",  # writes, or leaves out and counts
    "background",  # is that way
    "engine.engine",  # gives up its sequences, and says so
    "vault.writer",  # refuses those who wait, and says so
    "web.progress",  # awaits the task where it began
    "web.connection",  # awaits the task where it began
    "web.reading",  # what it reads is carried as `background` carries it
    "cli.generate",  # awaits the task where it began
    "engine.native.compiler",  # waits for all of them where they began
}


def test_work_in_the_background_is_started_in_one_way() -> None:
    other = r"\b(to_thread|run_in_executor|create_task|ensure_future|Thread|ThreadPoolExecutor)\("
    found = {
        module: re.findall(other, text)
        for module, (text, _) in sources().items()
        if module not in STARTERS and room(module) != "bench"
    }
    assert {module: starts for module, starts in found.items() if starts} == {}
