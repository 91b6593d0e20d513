"""Passes: plain functions from Graph to Graph.

Each has a before and an after in its docstring and a golden test.
"""

from backpass.passes.clean import clean
from backpass.passes.cse import cse
from backpass.passes.dce import dce
from backpass.passes.liveness import live_peak
from backpass.passes.order import order
from backpass.passes.simplify import simplify

__all__ = ["clean", "cse", "dce", "live_peak", "order", "simplify"]
