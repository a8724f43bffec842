"""Regular expressions that a policy may write: RE2, which takes linear time on any text, whatever the pattern."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Protocol

import re2

#: A pattern's length, and the memory that its program and a search may take (bytes).
PATTERN_CHARS_MAX: Final = 1_000
_MEMORY_BYTES_MAX: Final = 1 << 20


class PatternError(ValueError):
    """A pattern that RE2 does not know, or one past the bounds."""


class Pattern(Protocol):
    """A compiled pattern. Both methods raise ValueError for text that is no Unicode (a lone surrogate)."""

    #: Instructions of its program, which a search takes for each character at worst.
    programsize: int

    def search(self, text: str) -> object | None:
        """A match anywhere in the text."""

    def fullmatch(self, text: str) -> object | None:
        """A match of the text as a whole."""


@lru_cache(maxsize=4_096)
def compiled(text: str, *, ignore_case: bool = False) -> Pattern:
    """The pattern. Raises PatternError."""
    if len(text) > PATTERN_CHARS_MAX:
        raise PatternError(f"a pattern has at most {PATTERN_CHARS_MAX} characters, this one {len(text)}")
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not ignore_case
    options.max_mem = _MEMORY_BYTES_MAX
    try:
        pattern: Pattern = re2.compile(text, options=options)
    except (re2.error, ValueError) as error:
        said = error.args[0] if error.args else ""
        told = said.decode(errors="replace") if isinstance(said, bytes) else str(error)
        raise PatternError(f"{text!r} is not a regular expression RE2 knows: {told}") from error
    return pattern
