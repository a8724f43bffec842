"""What cannot be used of what came from elsewhere, field by field: the same to whoever reads, be it HTTP or a file.

Texts never repeat what was sent beyond names of fields: they may end up in a log.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field. `pointer`: RFC 6901 into the body, or `header:<name>`. `advises`: whether the text
    is one of ours, which says what to send; a validator's own only says what is wrong."""

    pointer: str
    message: str
    advises: bool = field(default=False, compare=False)


class RefusedError(Exception):
    """Nothing of it is used. `errors`: every field that is wrong; `detail`: the first of them as a sentence."""

    def __init__(self, detail: str, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors


class NotJsonError(RefusedError):
    """What came is no JSON."""


def invalid(*errors: FieldError) -> RefusedError:
    """The refusal of wrong fields; its detail tells the first one."""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return RefusedError(f"{errors[0].pointer or 'the body'}: {errors[0].message}{more}", errors)


def malformed(why: str) -> NotJsonError:
    """The refusal of what is not JSON."""
    return NotJsonError(f"The body is not JSON: {why}.")
