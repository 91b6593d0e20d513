"""The Preprocessor's state as JSON, and back, strictly.

Read from a model file, so from a stranger: size and nesting are bounded; duplicate and unknown
keys, wrong types, NaN, zero standard deviations and repeated names are refused, each by its place
in the document. Nothing is evaluated or imported by name.
"""

import json
import math
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from backpass.data.encoders import (
    CategoryFeature,
    ClassTarget,
    Feature,
    NumberFeature,
    NumberTarget,
    Target,
)
from backpass.errors import CheckpointError
from backpass.wording import quote, quote_list, size

_T = TypeVar("_T")
FORMAT = "backpass.preprocessor"
VERSION = 1
MOST_CHARACTERS = 64 * 2**20


def preprocessor_text(
    *,
    features: tuple[Feature, ...],
    target: Target | None,
    missing: str,
    unknown: str,
    dtype: str,
    max_bytes: int,
) -> str:
    """One line of ASCII JSON; the same state gives the same text."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "missing": missing,
        "unknown": unknown,
        "dtype": dtype,
        "max_bytes": max_bytes,
        "features": [_written(feature) for feature in features],
        "target": None if target is None else _written(target),
    }
    return json.dumps(document, allow_nan=False, separators=(",", ":"))


def _written(state: Feature | Target) -> dict[str, Any]:
    match state:
        case NumberFeature(name, mean, std, fill):
            return {"kind": "number", "name": name, "mean": mean, "std": std, "fill": fill}
        case CategoryFeature(name, categories, fill):
            return {"kind": "category", "name": name, "categories": categories, "fill": fill}
        case ClassTarget(name, classes):
            return {"kind": "classes", "name": name, "classes": classes}
        case NumberTarget(name, mean, std):
            return {"kind": "number", "name": name, "mean": mean, "std": std}


def parse_preprocessor(text: str | bytes) -> dict[str, Any]:
    """The fields of a Preprocessor from its JSON; CheckpointError where `to_json` differs."""
    document = _mapping(
        _parsed(text),
        "document",
        ("format", "version", "missing", "unknown", "dtype", "max_bytes", "features", "target"),
    )
    if document["format"] != FORMAT:
        _refuse("format", f"is {quote(document['format'])} and should be {quote(FORMAT)}")
    if document["version"] != VERSION or isinstance(document["version"], bool):
        _refuse("version", f"is {quote(document['version'])}; this backpass reads {VERSION}")
    max_bytes = document["max_bytes"]
    if type(max_bytes) is not int or not 0 < max_bytes < 2**63:
        _refuse("max_bytes", "is not a positive whole number")
    if not isinstance(document["features"], list) or not document["features"]:
        _refuse("features", "is not a list of columns")
    features = tuple(
        _feature(item, f"features[{i}]") for i, item in enumerate(document["features"])
    )
    _distinct(tuple(feature.name for feature in features), "features")
    return {
        "features": features,
        "target": None if document["target"] is None else _target(document["target"], "target"),
        "missing": _one_of(document["missing"], "missing", ("error", "impute", "drop")),
        "unknown": _one_of(document["unknown"], "unknown", ("zeros", "error")),
        "dtype": _one_of(document["dtype"], "dtype", ("float32", "float64")),
        "max_bytes": max_bytes,
    }


def _refuse(place: str, what: str) -> NoReturn:
    raise CheckpointError(f"The preprocessing in the model file is damaged: {place} {what}.")


def _parsed(text: str | bytes) -> Any:
    if len(text) > MOST_CHARACTERS:
        _refuse("the document", f"takes {size(len(text))}; {size(MOST_CHARACTERS)} is the cap")
    try:
        return json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_constant=lambda word: _refuse("a number", f"is {word}"),
        )
    except RecursionError:
        _refuse("the document", "is nested too deeply")
    except ValueError as error:
        if isinstance(error, CheckpointError):
            raise
        _refuse("the document", f"is not JSON ({str(error)[:100]})")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        _refuse("an object", "holds a key twice")
    return found


def _mapping(value: Any, place: str, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(place, f"is a {type(value).__name__} and should be an object")
    for key in keys:
        if key not in value:
            _refuse(place, f"lacks {quote(key)}")
    extra = [key for key in value if key not in keys]
    if extra:
        _refuse(place, f"holds unknown keys: {quote_list(extra)}")
    return value


def _one_of(value: Any, place: str, allowed: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in allowed:
        _refuse(place, f"is {quote(value)}, not one of {quote_list(allowed)}")
    return value


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        _refuse(place, f"is a {type(value).__name__} and should be a text")
    return value


def _number(value: Any, place: str) -> float:
    if type(value) not in (int, float):
        _refuse(place, f"is a {type(value).__name__} and should be a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        _refuse(place, "is not finite")
    return number


def _positive(value: Any, place: str) -> float:
    number = _number(value, place)
    if number <= 0:
        _refuse(place, f"is {number} and should be positive")
    return number


def _texts(value: Any, place: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        _refuse(place, "is not a list of texts")
    texts = tuple(_text(item, f"{place}[{i}]") for i, item in enumerate(value))
    if "" in texts:
        _refuse(place, "holds an empty text")
    return _distinct(texts, place)


def _distinct(texts: tuple[str, ...], place: str) -> tuple[str, ...]:
    if len(set(texts)) != len(texts):
        _refuse(place, "names something twice")
    return texts


def _or_none(value: Any, place: str, read: Callable[[Any, str], _T]) -> _T | None:
    return None if value is None else read(value, place)


def _kind(value: Any, place: str) -> str:
    if not isinstance(value, dict) or "kind" not in value:
        _refuse(place, "is not an object with a kind")
    return _text(value["kind"], f"{place}.kind")


def _feature(value: Any, place: str) -> Feature:
    kind = _kind(value, place)
    if kind == "number":
        item = _mapping(value, place, ("kind", "name", "mean", "std", "fill"))
        return NumberFeature(
            _text(item["name"], f"{place}.name"),
            _number(item["mean"], f"{place}.mean"),
            _positive(item["std"], f"{place}.std"),
            _or_none(item["fill"], f"{place}.fill", _number),
        )
    if kind == "category":
        item = _mapping(value, place, ("kind", "name", "categories", "fill"))
        categories = _texts(item["categories"], f"{place}.categories")
        fill = _or_none(item["fill"], f"{place}.fill", _text)
        if fill is not None and fill not in categories:
            _refuse(f"{place}.fill", f"is {quote(fill)}, which is none of the categories")
        return CategoryFeature(_text(item["name"], f"{place}.name"), categories, fill)
    _refuse(f"{place}.kind", f"is {quote(kind)}, not number or category")


def _target(value: Any, place: str) -> Target:
    kind = _kind(value, place)
    if kind == "classes":
        item = _mapping(value, place, ("kind", "name", "classes"))
        classes = _texts(item["classes"], f"{place}.classes")
        return ClassTarget(_text(item["name"], f"{place}.name"), classes)
    if kind == "number":
        item = _mapping(value, place, ("kind", "name", "mean", "std"))
        return NumberTarget(
            _text(item["name"], f"{place}.name"),
            _number(item["mean"], f"{place}.mean"),
            _positive(item["std"], f"{place}.std"),
        )
    _refuse(f"{place}.kind", f"is {quote(kind)}, not classes or number")
