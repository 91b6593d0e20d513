"""The saved state: back bit for bit, and refused with a sentence if a stranger wrote it."""

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backpass import data
from backpass.data import CategoryFeature, ClassTarget, NumberFeature, NumberTarget, Preprocessor
from backpass.errors import CheckpointError

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
POSITIVE = st.floats(min_value=5e-324, allow_infinity=False)
TEXTS = st.lists(st.text(min_size=1), min_size=1, max_size=5, unique=True).map(tuple)
NUMBER = st.builds(NumberFeature, st.text(), FLOATS, POSITIVE, st.none() | FLOATS)
CATEGORY = TEXTS.flatmap(
    lambda texts: st.builds(
        CategoryFeature, st.text(), st.just(texts), st.none() | st.sampled_from(texts)
    )
)
TARGET = (
    st.none()
    | st.builds(ClassTarget, st.text(), TEXTS)
    | st.builds(NumberTarget, st.text(), FLOATS, POSITIVE)
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(NUMBER | CATEGORY, min_size=1, max_size=5, unique_by=lambda feature: feature.name),
    TARGET,
    st.sampled_from(["error", "impute", "drop"]),
    st.sampled_from(["zeros", "error"]),
    st.sampled_from(["float32", "float64"]),
)
def test_back_bit_for_bit(features, target, missing, unknown, dtype) -> None:  # noqa: ANN001
    state = Preprocessor(tuple(features), target, missing, unknown, dtype)
    text = state.to_json()
    assert text.isascii()
    assert Preprocessor.from_json(text) == state
    assert Preprocessor.from_json(text.encode()).to_json() == text


def test_a_fitted_one_does_the_same_after_a_round_trip() -> None:
    for name in ("iris", "diabetes"):
        table = data.load(name)
        fitted = Preprocessor.fit(table, standardize_target=True)
        again = Preprocessor.from_json(fitted.to_json())
        for one, two in zip(fitted.transform(table), again.transform(table), strict=True):
            assert one is not None
            assert two is not None
            assert np.array_equal(one, two)


GOOD = json.loads(
    Preprocessor(
        (NumberFeature("a", 1.0, 2.0, 3.0), CategoryFeature("b", ("x", "y"), "x")),
        ClassTarget("k", ("u", "v")),
    ).to_json()
)


def changed(path: str, value: object) -> str:
    document = copy.deepcopy(GOOD)
    at = document
    *parents, last = path.split("/")
    for key in parents:
        at = at[int(key) if isinstance(at, list) else key]
    if value is ...:
        del at[last]
    else:
        at[int(last) if isinstance(at, list) else last] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("format", "other", "format is 'other' and should be 'backpass.preprocessor'"),
        ("version", 2, "version is '2'; this backpass reads 1"),
        ("version", True, "version is 'True'"),
        ("extra", 1, "document holds unknown keys: 'extra'"),
        ("dtype", ..., "document lacks 'dtype'"),
        ("dtype", "object", "dtype is 'object', not one of 'float32', 'float64'"),
        ("dtype", ["float32"], "dtype is"),
        ("missing", None, "missing is 'None', not one of"),
        ("unknown", "x", "unknown is 'x', not one of"),
        ("max_bytes", 0, "max_bytes is not a positive whole number"),
        ("max_bytes", 1e9, "max_bytes is not a positive whole number"),
        ("max_bytes", True, "max_bytes is not a positive whole number"),
        ("features", {}, "features is not a list of columns"),
        ("features", [], "features is not a list of columns"),
        ("features/0", 5, "features[0] is not an object with a kind"),
        ("features/0/kind", "os.system", "features[0].kind is 'os.system', not number or category"),
        ("features/0/kind", 1, "features[0].kind is a int and should be a text"),
        ("features/0/name", 1, "features[0].name is a int and should be a text"),
        ("features/0/mean", "1", "features[0].mean is a str and should be a number"),
        ("features/0/mean", True, "features[0].mean is a bool and should be a number"),
        ("features/0/mean", 10**400, "features[0].mean is not finite"),
        ("features/0/std", 0, "features[0].std is 0.0 and should be positive"),
        ("features/0/std", -1, "features[0].std is -1.0 and should be positive"),
        ("features/0/fill", [], "features[0].fill is a list and should be a number"),
        ("features/0/more", 1, "features[0] holds unknown keys: 'more'"),
        ("features/1/name", "a", "features names something twice"),
        ("features/1/categories", "xy", "features[1].categories is not a list of texts"),
        ("features/1/categories", [], "features[1].categories is not a list of texts"),
        ("features/1/categories", ["x", "x"], "features[1].categories names something twice"),
        ("features/1/categories", ["x", ""], "features[1].categories holds an empty text"),
        ("features/1/categories", ["x", 1], "features[1].categories[1] is a int"),
        ("features/1/fill", "z", "features[1].fill is 'z', which is none of the categories"),
        ("target/kind", "none", "target.kind is 'none', not classes or number"),
        ("target/classes", ["u", "u"], "target.classes names something twice"),
        ("target", [], "target is not an object with a kind"),
    ],
)
def test_every_change_is_refused_by_its_place(path: str, value: object, sentence: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        Preprocessor.from_json(changed(path, value))
    start = "The preprocessing in the model file is damaged: "
    assert str(caught.value).startswith(start)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the document is not JSON"),
        ("[]", "document is a list and should be an object"),
        ("null", "document is a NoneType"),
        ('{"format":1,"format":2}', "an object holds a key twice"),
        ('{"format":NaN}', "a number is NaN"),
        ('{"format":-Infinity}', "a number is -Infinity"),
        ("[" * 1_000_000, "the document is nested too deeply"),
        ('{"a":' * 1_000_000, "the document is nested too deeply"),
        ("1" * 10_000, "the document is not JSON"),
        (b"\xff\xfe\x00", "the document is not JSON"),
        (" " * (64 * 2**20 + 1), "the document takes 64 MiB; 64 MiB is the cap"),
    ],
    ids=range(11),
)
def test_hostile_documents(text: str | bytes, sentence: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        Preprocessor.from_json(text)
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 300


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 600), st.integers(0, 255))
def test_any_damaged_byte_is_refused_or_still_valid(place: int, byte: int) -> None:
    content = bytearray(json.dumps(GOOD).encode())
    content[place % len(content)] = byte
    try:
        state = Preprocessor.from_json(bytes(content))
    except CheckpointError:
        return
    assert Preprocessor.from_json(state.to_json()) == state
