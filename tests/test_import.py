"""What `import backpass` costs and brings: little over NumPy, and nothing heavy."""

import subprocess
import sys

BUDGET_SECONDS = 0.150
HEAVY = (
    *("torch", "jax", "autograd", "sklearn", "scipy", "llvmlite", "rich", "typer", "click"),
    *("polars", "pandas", "pyarrow", "safetensors", "matplotlib", "onnx"),
)


def run_python(code: str) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_import_costs_at_most_150_ms_over_numpy() -> None:
    # CPU time of the one thread that imports, so that a busy machine does not decide; the first
    # import of all may have to compile bytecode, and the best of several is the cost itself.
    code = (
        "import numpy, time; start = time.thread_time(); import backpass; "
        "print(time.thread_time() - start)"
    )
    best = min(float(run_python(code)) for _ in range(5))
    assert best <= BUDGET_SECONDS, f"import backpass takes {best * 1e3:.0f} ms over import numpy"


def test_import_brings_nothing_heavy() -> None:
    loaded = run_python("import sys, backpass; print('\\n'.join(sys.modules))").split()
    assert "backpass" in loaded
    assert sorted({name.partition(".")[0] for name in loaded} & set(HEAVY)) == []


def test_import_reads_no_environment_and_starts_no_thread() -> None:
    code = """
import os, threading
import numpy
reads = []
class Watched(dict):
    def get(self, key, default=None): reads.append(key); return super().get(key, default)
    def __getitem__(self, key): reads.append(key); return super().__getitem__(key)
os.environ = Watched(os.environ)
import backpass
print(reads, threading.active_count())
"""
    assert run_python(code).strip() == "[] 1"


def test_every_public_name_is_there_and_the_rooms_load_when_asked_for() -> None:
    code = (
        "import sys, backpass as bp\n"
        "assert not {'backpass.nn', 'backpass.train', 'backpass.data'} & set(sys.modules)\n"
        "assert bp.nn.Linear(2, 3)(__import__('numpy').ones((1, 2))).shape == (1, 3)\n"
        "missing = [name for name in bp.__all__ if not hasattr(bp, name)]\n"
        "assert missing == [], missing\n"
        "assert bp.Trainer is bp.train.Trainer and set(bp.__all__) == set(dir(bp))\n"
        "assert not hasattr(bp, 'Tensor')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
