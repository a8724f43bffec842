"""Whether all that is kept about identifiers says the same: where they lead, the evidence, and what an erasure reached.

Export and erasure go by the evidence, records by where keys lead: where the two differ, a click goes to one person and
the file of what is known about it to another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipeline.core.keys import beside, hash_of
from pipeline.core.sections.links import HELD, JOINED, LINKED
from pipeline.core.subject import Erased, Person, Redirect


def disagreements(
    states: Mapping[str, Any], leads_to: Callable[[str], str], passed_over: Callable[[str], bool]
) -> Iterator[str]:
    """What is wrong, in words. `passed_over`: keys of which nothing of this can be said (rings under way)."""
    for key, state in states.items():
        if not isinstance(state, Person) or passed_over(key):
            continue
        for name, link in state.links.items():
            if link.outcome in (LINKED, JOINED) and leads_to(beside(key, name)) != key:
                yield f"{key} has {name} as {link.outcome}, which leads to {leads_to(beside(key, name))}"
    for key, state in states.items():
        winner = leads_to(key)
        if not isinstance(state, Redirect) or winner not in states or passed_over(key):
            continue
        if isinstance(states[winner], Erased):
            continue
        known = states[winner].links.get(hash_of(key)) if isinstance(states[winner], Person) else None
        if known is None or known.outcome not in HELD:
            yield f"{key} leads to {winner}, whose evidence says {known.outcome if known else 'nothing'}"


def traces(states: Mapping[str, Any]) -> Iterator[str]:
    """Erased identifiers that are named by what is kept about somebody else."""
    erased = {hash_of(key): key for key, state in states.items() if isinstance(state, Erased)}
    if not erased:
        return
    for key, state in states.items():
        if isinstance(state, Erased):
            continue
        kept = repr(state)
        for name, gone in erased.items():
            if gone != key and (repr(name) in kept or repr(gone) in kept):
                yield f"{gone} was erased, and what is kept at {key} names it"
