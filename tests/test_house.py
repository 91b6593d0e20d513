"""The rules of the house that no linter holds, checked on every file of src/.

Sizes, a docstring on every module, no peer library, imports of our own modules at the top of the
file only, and the environment read in config.py only. Layers are import-linter's (`make layers`).
"""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "backpass"
FILES = sorted(SOURCE.rglob("*.py"))
PEERS = {"torch", "jax", "jaxlib", "autograd", "tensorflow"}
MAX_FILE_LINES, MAX_FUNCTION_LINES = 500, 60
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

each_file = pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))


def parse(path: Path) -> ast.Module:
    """Parse a source file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported(node: ast.AST) -> list[str]:
    """Return the full names of the modules that an import statement names, [] for other nodes."""
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom():
            return ["backpass." * bool(node.level) + (node.module or "")]
        case _:
            return []


def test_there_are_files_to_check() -> None:
    assert SOURCE / "__init__.py" in FILES


@each_file
def test_a_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(parse(path)), f"{path}: the module has no docstring"


@each_file
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES
    functions = [node for node in ast.walk(parse(path)) if isinstance(node, FUNCTIONS)]
    sizes = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert {name: size for name, size in sizes.items() if size > MAX_FUNCTION_LINES} == {}


@each_file
def test_no_peer_is_imported(path: Path) -> None:
    names = [name for node in ast.walk(parse(path)) for name in imported(node)]
    assert sorted({name.partition(".")[0] for name in names} & PEERS) == []


@each_file
def test_own_modules_are_imported_at_the_top(path: Path) -> None:
    functions = [node for node in ast.walk(parse(path)) if isinstance(node, FUNCTIONS)]
    hidden = [
        f"line {node.lineno}: {name}"
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in imported(node)
        if name.partition(".")[0] == "backpass"
    ]
    assert hidden == []


@each_file
def test_only_config_reads_the_environment(path: Path) -> None:
    names = [node.attr for node in ast.walk(parse(path)) if isinstance(node, ast.Attribute)]
    names += [
        alias.name
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ImportFrom) and node.module == "os"
        for alias in node.names
    ]
    reads = {"environ", "environb", "getenv", "getenvb"} & set(names)
    assert not reads or path == SOURCE / "config.py"


def test_py_typed_is_there() -> None:
    assert (SOURCE / "py.typed").is_file()
