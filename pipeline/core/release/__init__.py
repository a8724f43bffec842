"""A release's canonical body to the compiled policy. Collects every problem; a policy either compiles whole or not.

The body is the JSON that `pipeline.policy` writes after checking its shape: this package checks what it means.
"""

from pipeline.core.release.book import RuleBook
from pipeline.core.release.whole import compile_release

__all__ = ["RuleBook", "compile_release"]
