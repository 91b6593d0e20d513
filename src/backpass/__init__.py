"""backpass: backpropagation for NumPy code.

It gives exact gradients of plain Python functions written with NumPy, and of neural networks.
Functions take and return NumPy arrays. Importing this package starts nothing: no environment is
read, no compiler is loaded, and nothing heavier than NumPy is imported.
"""

__version__ = "0.1.0"
