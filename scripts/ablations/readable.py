"""Text for people: printable, without credentials, and never a formula in a spreadsheet.

Configs, records, logs and error messages may hold anything. What shows them passes their text through here.
"""

import logging
import re
import unicodedata
from collections.abc import Iterable

# What a terminal obeys: a sequence that sets colours, moves, or names a window or a link. All lengths here
# have bounds, so that no text takes long.
_SEQUENCE = re.compile(
    r"\x1b(?:\[[0-?]{0,99}[ -/]{0,9}[@-~]|[\]PX^_][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)|[ -/]{0,9}[0-Z\\^-~])"
)
# In a URL, the user with the password, which may hold unescaped signs; and the two without a scheme.
_USER = re.compile(
    r"""(?<=://)(?:[^\s/?\#'"<>]{0,999}@|[^\s/?\#'"<>:@\[]{1,99}:(?!\d{1,5}(?:[/?\#\s]|$))[^\s'"<>]{0,999}@)"""
    r"""|(?<![\w:.%+-])[\w.%+-]{1,99}:[^\s/:@'"<>]{1,99}@(?=[\w\[])""",
    re.VERBOSE,
)
# A parameter, variable or flag whose name ends in one of these, and a header. `$NAME` shows nothing.
_NAMES = ("password", "passwd", "pwd", "secret", "token", "key", "signature", "credential", "authorization")
_WORD = r"(?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|signature|credentials?)"
_VALUE = re.compile(
    rf"""((?<![\w+/.-])[\w.-]{{0,40}}{_WORD}=|--[\w-]{{0,40}}{_WORD}\ {{1,4}}"""
    r"""|authorization['"]?\s?[:=]\s?['"]?(?:\w{1,20}\s)?)(['"]?)(?![${*])[^&;\s'"<>\#]+""",
    re.VERBOSE | re.IGNORECASE,
)
HIDDEN = "***"
# What begins a formula, also in the wide forms of East Asian keyboards.
_FORMULA = tuple("=+-@＝＋－＠")


def readable(text: str) -> str:
    """Text that a terminal or a page shows as it is, without credentials; line breaks and tabs stay.

    Sequences for terminals are removed. Other letters that do not print, such as those that change the
    direction of what follows, become their escapes. Credentials become `***`.
    """
    text = _printable(text)
    lowered = text.lower()
    if "@" in text:
        text = _USER.sub(f"{HIDDEN}@", text)
    if any(name in lowered for name in _NAMES):
        text = _VALUE.sub(rf"\1\2{HIDDEN}", text)
    return text


def as_field(text: str) -> str:
    """Text as a field of a table: in one printable line that a spreadsheet does not take for a formula."""
    text = " ".join(_printable(text).split())
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def as_line(text: str) -> str:
    """Readable text in one line."""
    return " ".join(readable(text).split())


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(map(_printed, _SEQUENCE.sub("", text)))


def _printed(letter: str) -> str:
    if letter.isprintable() or letter in "\n\t":
        return letter
    return " " if unicodedata.category(letter) == "Zs" else repr(letter)[1:-1]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii()


class ReadableFormatter(logging.Formatter):
    """Formats as another formatter does, and makes the result readable."""

    def __init__(self, usual: logging.Formatter) -> None:
        super().__init__()
        self._usual = usual

    def format(self, record: logging.LogRecord) -> str:
        return readable(self._usual.format(record))


def make_readable(handlers: Iterable[logging.Handler]) -> None:
    """Make what these handlers write readable; those without a formatter hand records on to others."""
    for handler in handlers:
        if handler.formatter:
            handler.setFormatter(ReadableFormatter(handler.formatter))
