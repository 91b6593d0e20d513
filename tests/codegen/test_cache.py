"""The object cache keeps machine code, and whatever is wrong with it costs a compilation."""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pytest
from tests.codegen.native_steps import run_script, said

from backpass.codegen import cache, engine
from backpass.codegen.machine import host

TEXT = "define i64 @f() #0 { ret i64 41 }\n"
CALL = """
    import ctypes
    from backpass.codegen import engine
    from backpass.codegen.machine import host
    library = engine.load("define i64 @f() #0 { ret i64 41 }\\n", host())
    print(ctypes.CFUNCTYPE(ctypes.c_int64)(library.address("f"))())
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own that is not made yet, in a process that has not warned."""
    monkeypatch.setenv("BACKPASS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_SESSION", cache._Session())
    return tmp_path / "cache"


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were compiled."""
    texts: list[str] = []
    compiled = engine.compile_parts

    def compile_parts(text: str, *rest: object) -> list[bytes]:
        texts.append(text)
        return compiled(text, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "compile_parts", compile_parts)
    return texts


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_the_second_load_compiles_nothing(folder: Path, compilations: list[str]) -> None:
    libraries = [engine.load(TEXT, host()) for _ in range(2)]
    assert len(compilations) == 1
    for library in libraries:
        assert ctypes.CFUNCTYPE(ctypes.c_int64)(library.address("f"))() == 41
    assert folder.stat().st_mode & 0o777 == 0o700


def test_another_text_cpu_or_set_of_features_is_another_file(folder: Path) -> None:
    keys = {
        cache.key_of(*parts) for parts in (("a", "b"), ("ab", ""), ("a", "c"), ("a",), ("", "ab"))
    }
    assert len(keys) == 5
    engine.load(TEXT, host())
    engine.load(TEXT.replace("41", "42"), host())
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:10],
        lambda content: b"",
        lambda content: content[:-5] + bytes([content[-5] ^ 1]) + content[-4:],
        lambda content: content[:20] + b"\xff" + content[21:],
        lambda content: b"\x80\x04cos\nsystem\n(S'exit 1'\ntR.",
        lambda content: os.urandom(len(content)),
    ],
    ids=["short", "head", "empty", "flipped", "checksum", "pickle", "noise"],
)
def test_a_damaged_file_is_compiled_again_and_said_once(
    folder: Path, compilations: list[str], damage: object
) -> None:
    engine.load(TEXT, host())
    path = only_file(folder)
    whole = path.read_bytes()
    broken = damage(whole)  # type: ignore[operator]
    path.write_bytes(broken)
    with pytest.warns(RuntimeWarning, match="damaged"):
        engine.load(TEXT, host())
    assert len(compilations) == 2
    assert path.read_bytes() == whole
    path.write_bytes(broken)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.load(TEXT, host())
    assert len(compilations) == 3


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(
    folder: Path, compilations: list[str]
) -> None:
    engine.load(TEXT, host())
    path = only_file(folder)
    path.unlink()
    os.mkfifo(path)
    with pytest.warns(RuntimeWarning, match="damaged"):
        engine.load(TEXT, host())
    assert len(compilations) == 2 and path.is_file()


def test_sound_bytes_that_are_no_object_code_are_compiled_again(
    folder: Path, compilations: list[str]
) -> None:
    """Another program's file: its checksum is right, and LLVM refuses it."""
    engine.load(TEXT, host())
    path = only_file(folder)
    foreign = b"not an object at all"
    path.write_bytes(b"backpass object 1\n" + hashlib.sha256(foreign).digest() + foreign)
    with pytest.warns(RuntimeWarning, match="cannot be loaded"):
        engine.load(TEXT, host())
    assert len(compilations) == 2
    engine.load(TEXT, host())
    assert len(compilations) == 2


def test_a_folder_that_others_may_write_is_not_used(folder: Path, compilations: list[str]) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.warns(RuntimeWarning, match="BACKPASS_CACHE_DIR"):
        engine.load(TEXT, host())
    engine.load(TEXT, host())
    assert len(compilations) == 2
    assert list(folder.iterdir()) == []
    assert cache.contents().files == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_someone_else_is_not_used(folder: Path, compilations: list[str]) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)
    with pytest.warns(RuntimeWarning, match="not used"):
        engine.load(TEXT, host())
    assert list(folder.iterdir()) == []


def test_a_file_of_someone_else_is_not_used(folder: Path, compilations: list[str]) -> None:
    engine.load(TEXT, host())
    if os.getuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(only_file(folder), 12345, 12345)
    with pytest.warns(RuntimeWarning, match="another user's"):
        engine.load(TEXT, host())
    assert len(compilations) == 2


@pytest.mark.parametrize("place", ["/proc/nowhere/cache", "/dev/null/cache"])
def test_without_a_folder_it_works_and_says_nothing(place: str) -> None:
    assert said(CALL, env={"BACKPASS_CACHE_DIR": place}) == "41"


def test_a_read_only_folder_is_not_written() -> None:
    """Root may write anywhere, so the script becomes nobody, once it has imported what it needs."""
    become = """
import os
os.environ["BACKPASS_CACHE_DIR"] = "/proc/nowhere"
engine.load("define void @g() #0 { ret void }\\n", host())
os.environ["BACKPASS_CACHE_DIR"] = os.environ["READ_ONLY"]
os.getuid() or os.setresuid(65534, 65534, 65534)"""
    imports, _, rest = _dedented(CALL).partition("library =")
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        os.chown(folder, os.getuid() or 65534, -1)
        folder.chmod(0o500)
        script = f"{imports}{become}\nlibrary ={rest}"
        assert said(script, env={"READ_ONLY": name}) == "41"
        assert list(folder.iterdir()) == []


def test_a_full_disk_costs_nothing_but_the_next_compilation(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("backpass.files.os.fsync", full)
    engine.load(TEXT, host())
    assert list(folder.iterdir()) == []


def test_eight_processes_with_a_cold_cache(tmp_path: Path) -> None:
    """All get the code, one file is left, and nothing else."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
        "BACKPASS_CACHE_DIR": str(tmp_path / "cache"),
    }
    command = [sys.executable, "-W", "error", "-c", _dedented(CALL)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, env=environment, **pipes) for _ in range(8)]  # type: ignore
    ends = [process.communicate(timeout=120) for process in processes]
    assert ends == [("41\n", "")] * 8
    assert only_file(tmp_path / "cache").suffix == ".bpo"


def test_above_the_limit_the_oldest_go_first(folder: Path) -> None:
    for i, name in enumerate("abcde"):
        cache.write(name, bytes(1000))
        os.utime(folder / f"{name}.bpo", (i, i))
    assert cache.read("a") is not None  # now it is the one used last
    size = (folder / "a.bpo").stat().st_size
    cache.sweep(3 * size)
    assert sorted(path.stem for path in folder.iterdir()) == ["a", "d", "e"]


def test_leftovers_of_killed_processes_go(folder: Path) -> None:
    cache.write("a", b"code")
    old, new = folder / ".x.bpo.abcdefgh.partial", folder / ".y.bpo.abcdefgh.partial"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    cache.sweep(cache.LIMIT)
    assert sorted(path.name for path in folder.iterdir()) == [new.name, "a.bpo"]


def test_clearing_says_what_there_was_and_leaves_foreign_files(folder: Path) -> None:
    cache.write("a", b"code")
    cache.write("b", b"code")
    (folder / "mine.txt").write_text("a user's own")
    before = cache.clear()
    assert before.files == 2 and before.bytes > 8
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    assert cache.contents() == cache.Contents(folder, 0, 0)


def test_a_killed_writer_leaves_nothing_that_is_read(folder: Path) -> None:
    """A process that dies while it writes leaves a temporary file at most."""
    script = """
        import os
        from backpass import files
        from backpass.codegen import cache
        real = os.replace
        def die(*_): os._exit(9)
        os.replace = die
        cache.write("a", b"code")
    """
    assert run_script(script, env={"BACKPASS_CACHE_DIR": str(folder)}).returncode == 9
    assert cache.read("a") is None
    cache.write("a", b"code")
    assert cache.read("a") == b"code"


def _dedented(script: str) -> str:
    return "\n".join(line[4:] for line in script.splitlines())
