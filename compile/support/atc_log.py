"""What a log of ATC says of a model's operators: that all compiled, or which did not."""

import re
from dataclasses import dataclass

_SUCCESS = "ATC run success"
_REFUSED = (
    re.compile(r"registered for Op:?\s*\[?(?P<node>[^\s,\]]+)\]?,\s*optype:?\s*\[?(?P<type>[\w.:]+)"),
    re.compile(r"engine are found for \[(?P<node>[^\]]+)\],\s*optype \[(?P<type>\w+)\]"),
    re.compile(r"Op name:?\s*\[?(?P<node>[^\s,\]]+)\]?,\s*optype:?\s*\[?(?P<type>\w+)"),
)


@dataclass(frozen=True, kw_only=True)
class LogSays:
    """What a log says.

    Attributes:
        compiled: whether ATC reported success.
        refused: (node, operator) as the log names them, each once.
    """

    compiled: bool
    refused: tuple[tuple[str, str], ...]


def read_log(text: str) -> LogSays:
    """Read the text that ATC printed."""
    found = [
        (match["node"], match["type"].rpartition("::")[2])
        for form in _REFUSED
        for match in form.finditer(text)
    ]
    return LogSays(compiled=_SUCCESS in text and not found, refused=tuple(dict.fromkeys(found)))
