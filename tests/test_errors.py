"""The exception tree: drawn in the module's docstring as it is, and caught as built-in errors."""

import re

import pytest

from backpass import errors
from backpass.errors import BackpassError, MissingDependencyError

CLASSES = [value for value in vars(errors).values() if isinstance(value, type)]
ROW = re.compile(r"^ {4}(?P<indent>[│├└─ ]*)(?P<name>\w+)(?: +\((?P<builtin>\w+)\))?", re.MULTILINE)


def drawn_tree() -> dict[str, tuple[str, ...]]:
    """Read the docstring's drawing: the bases of every class, its parent first."""
    tree: dict[str, tuple[str, ...]] = {}
    open_names: list[str] = []
    for row in ROW.finditer(errors.__doc__ or ""):
        depth = len(row["indent"]) // 4
        parent = open_names[depth - 1] if depth else "Exception"
        open_names[depth:] = [row["name"]]
        tree[row["name"]] = (parent, row["builtin"]) if row["builtin"] else (parent,)
    return tree


def test_the_drawing_is_the_tree() -> None:
    assert drawn_tree() == {
        cls.__name__: tuple(base.__name__ for base in cls.__bases__) for cls in CLASSES
    }


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_is_ours_and_says_when_it_is_raised(cls: type) -> None:
    assert issubclass(cls, BackpassError)
    assert cls.__doc__


def test_a_missing_package_names_the_command() -> None:
    with pytest.raises(ImportError) as caught:
        raise MissingDependencyError("onnx", "Export to ONNX")
    assert str(caught.value) == (
        "Export to ONNX needs onnx, which is not installed. Install it with: pip install onnx"
    )
