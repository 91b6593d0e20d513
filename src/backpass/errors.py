"""The exceptions of backpass, in one tree.

Every error that backpass raises on purpose is a `BackpassError`, and is also the built-in exception
that a NumPy user expects, so both `except BackpassError` and `except ValueError` work::

    BackpassError
    ├── ConfigError             (ValueError)         a setting: environment, flag, file
    ├── DataError               (ValueError)         a data set: its file, its columns, its values
    │   └── DataTooLargeError   (MemoryError)        its memory, once encoded, is above the cap
    ├── CheckpointError         (ValueError)         a model file: unreadable, or it does not fit
    ├── MetricError             (ValueError)         a metric: its name, or what it is given
    ├── OptimizerError          (ValueError)         an optimizer: parameters, gradients, settings
    ├── MissingDependencyError  (ImportError)        an optional package that is not installed
    ├── ShapeError              (ValueError)         shapes that do not fit together
    ├── DTypeError              (TypeError)          a dtype that an operation cannot take
    ├── TreeError               (ValueError)         nested containers whose structures differ
    ├── TracingError            (TypeError)          a traced value where a number is needed
    │   └── LeakedTracerError                        a traced value after its transform returned
    ├── UnsupportedError        (TypeError)          a NumPy call, or an option, without a rule
    ├── NotDifferentiableError  (TypeError)          a derivative that does not exist
    ├── AliasError              (ValueError)         a read after a write through another view
    ├── GradientCheckError      (AssertionError)     check_grads found a wrong derivative
    ├── NonFiniteError          (FloatingPointError) NaN or infinity in training
    └── VerificationError       (AssertionError)     a Graph breaks an invariant: our bug

A message says what is wrong, why, the values, and the way out. This module imports nothing and is
the lowest of the layers.
"""


class BackpassError(Exception):
    """The root of every error that backpass raises on purpose."""


class ConfigError(BackpassError, ValueError):
    """A setting (environment, flag, configuration file) has a value that cannot be used."""


class DataError(BackpassError, ValueError):
    """A data set cannot be used as it is: its file, its columns or its values."""


class CheckpointError(BackpassError, ValueError):
    """A model or checkpoint file cannot be read, is damaged, or does not fit the model."""


class MetricError(BackpassError, ValueError):
    """A metric has no such name, or cannot take these predictions, targets or weights."""


class MissingDependencyError(BackpassError, ImportError):
    """An optional package is needed for what was asked and is not installed.

    Args:
        package: the name that pip installs, for example `"scikit-learn"`.
        purpose: what needs it, as the subject of the sentence, for example `"The f1 metric"`.
        extra: the extra of backpass that brings the package, for example `"train"`.

    >>> error = MissingDependencyError("scikit-learn", "The f1 metric", extra="train")
    >>> print(str(error).replace(". ", ".\\n"))
    The f1 metric needs scikit-learn, which is not installed.
    Install it with: pip install 'backpass[train]'
    """

    def __init__(self, package: str, purpose: str, *, extra: str | None = None) -> None:
        """Build the sentence that names the package, what needs it, and what installs it."""
        target = package if extra is None else f"'backpass[{extra}]'"
        super().__init__(
            f"{purpose} needs {package}, which is not installed. "
            f"Install it with: pip install {target}"
        )
        self.package = package


class ShapeError(BackpassError, ValueError):
    """Shapes do not fit together."""


class DTypeError(BackpassError, TypeError):
    """An operation or a transform cannot take this dtype."""


class TreeError(BackpassError, ValueError):
    """Two nested containers that should have one structure differ."""


class TracingError(BackpassError, TypeError):
    """A traced value stands where Python or NumPy needs an actual number or array."""


class LeakedTracerError(TracingError):
    """A traced value is used after the transform that made it has returned."""


class UnsupportedError(BackpassError, TypeError):
    """A NumPy call on a traced value has no rule here, or one of its options has none."""


class NotDifferentiableError(BackpassError, TypeError):
    """A derivative is asked for that does not exist or is not built."""


class AliasError(BackpassError, ValueError):
    """A traced array is read after an array that shares its memory in NumPy was written to."""


class GradientCheckError(BackpassError, AssertionError):
    """`check_grads` found a derivative that differs from the numerical one."""


class NonFiniteError(BackpassError, FloatingPointError):
    """NaN or infinity appeared where training cannot go on."""


class VerificationError(BackpassError, AssertionError):
    """A Graph breaks an invariant. It is a bug of backpass; please report it."""


class DataTooLargeError(DataError, MemoryError):
    """A data set would take more memory, once encoded, than the cap that stands for it."""


class OptimizerError(BackpassError, ValueError):
    """An optimizer or a schedule cannot use its parameters, gradients or settings as they are."""


_INSTEAD_OF_TORCH = {
    "backward": "value_and_grad(loss)(model, x, y) returns (value, grads)",
    "cpu": "drop the call: arrays are in the machine's memory",
    "cuda": "drop the call: arrays are in the machine's memory",
    "detach": "use bp.stop_gradient(x)",
    "from_numpy": "drop the call: arrays are NumPy arrays",
    "grad": "bp.grad(f)(x) returns the gradient",
    "no_grad": "drop the line: nothing is recorded outside of bp.grad and its kind",
    "numpy": "drop the call: outside of the transforms arrays are NumPy arrays",
    "requires_grad_": "drop the call: bp.grad(f, argnums=...) says with respect to what",
    "save": "np.savez(path, **model.state_dict()) writes the weights",
    "tensor": "use np.array: arrays are NumPy arrays",
    "unsqueeze": "use np.expand_dims(x, axis)",
    "view": "use x.reshape(shape)",
}


def instead_of_torch(name: str) -> str:
    """What to write in place of a name of PyTorch, as the end of a sentence; "" for others."""
    return f"; {_INSTEAD_OF_TORCH[name]}" if name in _INSTEAD_OF_TORCH else ""
