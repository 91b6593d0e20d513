"""NumPy's functions over operands (arrays or traced Values): broadcasting, promotion, axes.

Each file ends in tables: `FUNCTIONS` maps NumPy's function to ours, `METHODS` the names of array
methods, `UFUNCS` the ufuncs. `trace/` reads these tables; adding a function touches one file.
Written with primitives, never with Python operators. The public face is `backpass.numpy`.
"""
