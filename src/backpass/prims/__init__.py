"""The primitives, one file a family: every rule of a primitive stands in one place.

Start with `rules.py` (how rules are built, and `scale`, `broadcast` and `reduce_sum`, which all
families use), then `elementwise.py`. Primitives never broadcast or promote; `ops/` does that for
them.
"""
