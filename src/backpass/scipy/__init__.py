"""`backpass.scipy`: functions of SciPy that users of NumPy reach for, on arrays and traced arrays.

Only `special` is here. The ufuncs of scipy.special work on traced arrays by themselves.
"""

from backpass.scipy import special

__all__ = ["special"]
