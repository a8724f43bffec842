"""`policy.releases`: checks every release as it arrives, so that a bad one is a dead letter with what is wrong."""

from __future__ import annotations

from pipeline.core.model.problems import DefinitionError
from pipeline.core.model.records import PolicyRelease
from pipeline.core.release import compile_release
from pipeline.flow import Accept, Context, DeadLetter, Outcome, Reason


def handle(event: PolicyRelease, state: None, ctx: Context) -> Outcome:
    """Accept what compiles. An activation has no body: it names a release."""
    if not event.body:
        if not event.release:
            return DeadLetter(Reason.INVALID, "an activation must name a release: use `nextbest policy publish`")
        return Accept(Reason.APPLIED)
    try:
        compile_release(event.body, event.release)
    except DefinitionError as error:
        return DeadLetter(Reason.INVALID, f"{error}; run `nextbest policy check` and publish again")
    return Accept(Reason.APPLIED)
