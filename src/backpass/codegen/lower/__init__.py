"""Lowering: from a Graph to kernels and reference calls over named arrays. Start with
`lower.py`."""

from backpass.codegen.lower.lower import Call, Lowered, lower

__all__ = ["Call", "Lowered", "lower"]
