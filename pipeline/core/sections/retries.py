"""What is remembered for repeats: events that were taken up, requests that were decided and their replies."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pipeline.core.model.bounds import REPLIES_INLINE_BYTES_MAX, REPLY_BYTES_MAX
from pipeline.core.model.values import Value, packed, unpacked
from pipeline.core.model.words import DecisionReply
from pipeline.core.sections.section import Section
from pipeline.core.sections.seen import NOTHING, Seen

if TYPE_CHECKING:
    from pipeline.core.identity.merge import Merging

#: How many recent requests are remembered for their retries, and for how long.
REQUESTS_MAX: Final = 32
REQUESTS_MS: Final = 600_000

#: Slots for replies beside a state, written in turn. More than are remembered: so many decisions of one subject may be
#: lost in a crash before a reply that is still remembered was written over.
REPLY_SLOTS: Final = 48


class Remembered(Value, frozen=True, omit_defaults=True):
    """A request already decided, for its retries; few ever come. Its reply is here (`reply`: packed) while there are
    few, and where the state has left its key since; else it lies beside the state (`slot`). Neither: it was too large
    to keep."""

    digest: str
    at_ms: int
    slot: int = -1
    reply: bytes = b""


Requests = dict[str, Remembered]


def reply_name(slot: int) -> str:
    """Under which name a reply lies beside its state."""
    return f"reply/{slot}"


#: What takes every reply away that lies beside a state.
NO_REPLIES: Final = {reply_name(slot): b"" for slot in range(REPLY_SLOTS)}


def after(
    requests: Requests, reply: DecisionReply, digest: str, now_ms: int, slot: int
) -> tuple[Requests, dict[str, bytes]]:
    """The requests with one more, and what is to be put beside the state: the reply, by the name of this slot; nothing
    while the replies in the state are few.

    What is too old or too many is forgotten, oldest first. Of a reply that is too large only the request is known: a
    retry is told so, and nothing is decided twice.
    """
    kept = {key: one for key, one in requests.items() if now_ms - one.at_ms < REQUESTS_MS}
    while len(kept) >= REQUESTS_MAX:
        del kept[next(iter(kept))]
    data = packed(reply)
    if len(data) > REPLY_BYTES_MAX:
        kept[reply.request_id] = Remembered(digest, now_ms)
        return kept, {}
    if len(data) + sum(len(one.reply) for one in kept.values()) <= REPLIES_INLINE_BYTES_MAX:
        kept[reply.request_id] = Remembered(digest, now_ms, reply=data)
        return kept, {}
    kept[reply.request_id] = Remembered(digest, now_ms, slot)
    return kept, {reply_name(slot): data}


def known(requests: Requests, request_id: str, digest: str) -> Remembered | None:
    """What is remembered of a request; of another one under its id where there is nothing of its own."""
    one = requests.get(request_id)
    return one if one is None or one.digest == digest else requests.get(_apart(request_id, digest), one)


def _apart(request_id: str, digest: str) -> str:
    """Where a request is remembered whose id another one has, too: no id has the sign between the two."""
    return f"{request_id}\0{digest}"


def remembered_reply(one: Remembered, request_id: str, beside: Callable[[str], bytes | None]) -> DecisionReply | None:
    """The reply to a retry; None: it was not kept. `beside`: reads what lies beside the state.

    A slot may have been written for a later request whose state was then lost in a crash.
    """
    data = one.reply or (None if one.slot < 0 else beside(reply_name(one.slot)))
    reply = None if not data else unpacked(DecisionReply, data)
    return reply if reply is not None and reply.request_id == request_id else None


def _merge_requests(own: Requests, given: Requests, _: Merging) -> Requests:
    # Two subjects that become one may have used one id for different requests: each is retried under it.
    apart = {_apart(name, one.digest): one for name, one in given.items()
             if name in own and own[name].digest != one.digest}
    everything = sorted({**given, **own, **apart}.items(), key=lambda entry: (entry[1].at_ms, entry[0]))
    return dict(everything[-REQUESTS_MAX:])


def _merge_seen(own: Seen, given: Seen, _: Merging) -> Seen:
    return own.beside(given)


REQUESTS: Final[Section[Requests]] = Section({}, _merge_requests, counts=True)
#: How many replies were put beside the state so far.
REPLIES: Final[Section[int]] = Section(0)
EVENTS: Final[Section[Seen]] = Section(NOTHING, _merge_seen, returned=Seen.beside)
