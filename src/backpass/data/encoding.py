"""Which encoding a text file is in: from its byte order mark, its bytes, or the caller.

UTF-8 is tried first, since no other text happens to be valid UTF-8; then Windows-1252, which is
what spreadsheets of Western Europe write (it contains Latin-1's letters). What is neither gets an
error that names the line and byte, and asks. The file is read in blocks and never held as a whole.
"""

import codecs
from collections.abc import Iterator
from pathlib import Path

from backpass.errors import DataError
from backpass.sentence import Change, Sentence, Setting
from backpass.wording import quote

_BLOCK = 2**20
# utf-32 before utf-16: the mark of utf-16-le is the beginning of that of utf-32-le.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHER_FORMATS = (
    (b"PK\x03\x04", "a zip archive, as .xlsx and .ods workbooks are: save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls): save the sheet as CSV"),
    (b"\x1f\x8b", "compressed with gzip: unpack it first"),
    (b"%PDF", "a PDF document: save the table as CSV"),
    (b"PAR1", "a Parquet file: name it .parquet"),
    (b"\x93NUMPY", "a NumPy array: name it .npy"),
    (b"SQLite format 3", "an SQLite database: export the table as CSV"),
    (b"\x80\x04\x95", "a Python pickle, which is never loaded: save the table as CSV or Parquet"),
)


class Undecodable(Exception):
    """The text cannot be decoded: `line` and `byte` of the first fault."""

    def __init__(self, line: int, byte: int) -> None:
        super().__init__(line, byte)
        self.line = line
        self.byte = byte


def find_encoding(path: Path, encoding: str | None) -> tuple[str, str | None]:
    """The encoding of a text file, and a note where it had to be guessed.

    Raises DataError if the file is of another known format, holds NUL characters, or cannot be
    decoded (then with the line and the byte).
    """
    with path.open("rb") as file:
        head = file.read(4096)
    for magic, what in _OTHER_FORMATS:
        if head.startswith(magic):
            raise DataError(f"{path.name} is not a text table but {what}.")
    if encoding is not None:
        return _without_mark(_given(path, encoding), head), None
    found = _marked(head) or _unmarked_wide(head)
    if found is not None:
        return _given(path, found), None
    try:
        check_decodes(path, "utf-8")
        return "utf-8", None
    except Undecodable as fault:
        not_utf8 = fault
    try:
        check_decodes(path, "cp1252")
    except Undecodable as fault:
        raise DataError(
            Sentence(
                f"{path.name}:{fault.line}: byte 0x{fault.byte:02X} is neither UTF-8 nor "
                "Windows-1252 (Latin-1). Name the encoding of the file, such as ",
                Setting("encoding", "shift_jis"),
                ", or save it as UTF-8.",
            )
        ) from None
    return "cp1252", Sentence(
        f"Read as Windows-1252 (line {not_utf8.line} is not UTF-8); if letters look wrong, ",
        Change("encoding"),
        ".",
    )


def _marked(head: bytes) -> str | None:
    return next((name for mark, name in _MARKS if head.startswith(mark)), None)


def _without_mark(encoding: str, head: bytes) -> str:
    """The variant of a given Unicode encoding that reads the file's mark as a mark."""
    marked = _marked(head)
    family = codecs.lookup(encoding).name
    fits = marked is not None and family.startswith(marked.removesuffix("-sig"))
    return marked if marked is not None and fits else encoding


def _unmarked_wide(head: bytes) -> str | None:
    """UTF-16 without a mark: every other byte of Western text is then zero."""
    even, odd = head[0::2], head[1::2]
    if len(head) < 4:
        return None
    if odd.count(0) > 0.4 * len(odd) and even.count(0) == 0:
        return "utf-16-le"
    if even.count(0) > 0.4 * len(even) and odd.count(0) == 0:
        return "utf-16-be"
    return None


def _given(path: Path, encoding: str) -> str:
    try:
        known = codecs.lookup(encoding)
    except LookupError:
        known = None
    if known is None or not getattr(known, "_is_text_encoding", True):
        raise DataError(
            f"{quote(encoding)} is not the name of an encoding that Python knows. Common ones: "
            "utf-8, cp1252, latin-1, utf-16, shift_jis, gb18030."
        )
    try:
        check_decodes(path, encoding)
    except Undecodable as fault:
        raise DataError(
            f"{path.name}:{fault.line}: byte 0x{fault.byte:02X} is not {encoding}. Name another "
            "encoding, or none to have it found."
        ) from None
    return encoding


def check_decodes(path: Path, encoding: str) -> None:
    """Decode the whole file once; Undecodable, or DataError if it holds a NUL character."""
    line = 1
    decoder = codecs.getincrementaldecoder(encoding)()
    for block, last in _blocks(path):
        try:
            text = decoder.decode(block, final=last)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].count(b"\n")
            _refuse_nul(path, line, error.object[: error.start].decode(encoding))
            raise Undecodable(line + before, error.object[error.start]) from None
        _refuse_nul(path, line, text)
        line += text.count("\n")


def _refuse_nul(path: Path, line: int, text: str) -> None:
    """Raise DataError if `text`, which begins in `line`, holds a NUL character."""
    nul = text.find("\0")
    if nul >= 0:
        raise DataError(
            Sentence(
                f"{path.name}:{line + text.count(chr(10), 0, nul)}: a NUL character: this is not "
                "a text table. It may be a binary file, damaged, or text in an encoding such as "
                "utf-16, which can be named with ",
                Setting("encoding", "utf-16-le"),
                ".",
            )
        )


def _blocks(path: Path) -> Iterator[tuple[bytes, bool]]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block, False
        yield b"", True
