"""PyTorch's functions under NumPy's names, for the cases whose code it can run."""

from __future__ import annotations

from typing import Any

import numpy

# PyTorch's functions of these names take the same arguments as NumPy's.
SAME = {
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "square", "reciprocal", "sin",
    "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "arcsinh", "arccosh",
    "arctanh", "abs", "absolute", "sinc", "hypot", "arctan2", "logaddexp", "logaddexp2", "maximum",
    "minimum", "where", "einsum", "matmul", "outer", "kron", "tril", "triu", "diag",
}  # fmt: skip
TORCH_CASES = {
    *SAME - {"where", "einsum", "matmul", "outer", "kron", "tril", "triu", "diag"},
    "where", "matmul", "outer", "kron", "tril", "triu", "diag of a matrix", "diag of a vector",
    "matmul operator", "matmul batched", "matmul batch by matrix", "matmul matrix vector",
    "matmul vector vector", "einsum ij,jk->ik", "einsum bij,bjk->bik", "einsum i,j->ij",
    "einsum ii->i", "einsum ij,ij->", "einsum ij->ji", "add", "subtract", "multiply", "divide",
    "power 2", "power 3", "power -1", "power 0.5", "power of a base", "cumsum axis", "cumprod",
    "sum axis 0", "sum axis last", "sum axis two", "mean axis 0", "mean axis last",
    "var axis 0", "var ddof", "std axis last", "max axis last", "min axis 0", "prod axis 0",
    "slice", "integer", "negative integer", "ellipsis", "newaxis", "array", "mask", "pairs",
    "array repeated", "sigmoid", "gelu", "softplus", "swish", "mish", "huber", "Rosenbrock",
    "rms norm", "attention", "linalg.solve", "linalg.inv", "linalg.det", "linalg.slogdet",
    "linalg.cholesky", "linalg.eigh values", "linalg.norm", "linalg.pinv", "linalg.qr",
    "cosine similarity", "pairwise distances", "Fourier features", "flip", "roll",
    "copysign", "cbrt by power", "layer norm", "softmax", "entropy",
}  # fmt: skip
TORCH_CASES -= {"cbrt by power", "copysign"}


class _Linalg:
    """torch.linalg as numpy.linalg."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.torch.linalg, name)


class TorchNumPy:
    """A namespace with NumPy's spelling of the arguments that the cases use."""

    pi = numpy.pi

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.linalg = _Linalg(torch)

    def __getattr__(self, name: str) -> Any:
        names = {"power": "pow", "divide": "div", "add": "add", "roll": "roll"}
        function = getattr(self.torch, names.get(name, name))

        def call(*args: Any) -> Any:
            return function(*[self.tensor(a) for a in args])

        return call

    def tensor(self, x: Any) -> Any:
        """Numbers as tensors of float64, where PyTorch wants tensors."""
        return self.torch.tensor(x, dtype=self.torch.float64) if type(x) is float else x

    def sum(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return self.torch.sum(x) if axis is None else self.torch.sum(x, axis, keepdim=keepdims)

    def mean(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return self.torch.mean(x) if axis is None else self.torch.mean(x, axis, keepdim=keepdims)

    def max(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return self.torch.amax(x) if axis is None else self.torch.amax(x, axis, keepdim=keepdims)

    def min(self, x: Any, axis: Any = None) -> Any:
        return self.torch.amin(x, axis)

    def prod(self, x: Any, axis: int) -> Any:
        return self.torch.prod(x, axis)

    def var(self, x: Any, axis: int, ddof: int = 0) -> Any:
        return self.torch.var(x, axis, correction=ddof)

    def std(self, x: Any, axis: int, ddof: int = 0) -> Any:
        return self.torch.std(x, axis, correction=ddof)

    def cumsum(self, x: Any, axis: int) -> Any:
        return self.torch.cumsum(x, axis)

    def cumprod(self, x: Any, axis: int) -> Any:
        return self.torch.cumprod(x, axis)

    def flip(self, x: Any, axis: int) -> Any:
        return self.torch.flip(x, (axis,))

    def roll(self, x: Any, shift: int, axis: int) -> Any:
        return self.torch.roll(x, shift, axis)

    def diag(self, x: Any, k: int = 0) -> Any:
        return self.torch.diag(x, k)

    def triu(self, x: Any, k: int = 0) -> Any:
        return self.torch.triu(x, k)

    def einsum(self, text: str, *xs: Any) -> Any:
        return self.torch.einsum(text, *xs)

    def sqrt(self, x: Any) -> Any:
        return self.torch.sqrt(x) if isinstance(x, self.torch.Tensor) else numpy.sqrt(x)
