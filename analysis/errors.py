"""What keeps an analysis from being made at all."""

from __future__ import annotations


class AnalysisError(Exception):
    """The input cannot be read, or names what is not there. The text says what to do."""
