"""How much may be said and kept of one subject, part by part: what every endpoint and every topic refuse alike.

docs/limits.md has them all, with what happens past each and the test that goes past it.
"""

from __future__ import annotations

from typing import Final

#: Characters of an id: of an event, a subject, an item, a decision.
ID_CHARS_MAX: Final = 256
#: Characters of a name: of a trait, an attribute, a purpose, a channel, a placement, a source.
NAME_CHARS_MAX: Final = 128
#: Characters of the name of an event or page, which the HTTP interface cuts.
EVENT_NAME_CHARS_MAX: Final = 256
#: Characters of a text: of a trait, a property, an attribute.
TEXT_CHARS_MAX: Final = 1_024

#: Parts of one event.
TRAITS_PER_EVENT_MAX: Final = 256
PROPERTIES_PER_EVENT_MAX: Final = 256
ATTRIBUTES_PER_REQUEST_MAX: Final = 256
CONSENTS_PER_EVENT_MAX: Final = 128
IDENTIFIERS_PER_EVENT_MAX: Final = 64

#: Bytes of remembered replies that stay in the state: as many as somebody has who asks now and then.
REPLIES_INLINE_BYTES_MAX: Final = 4_096
#: Bytes of one remembered reply, and of all that a profile takes along when it leaves its key.
REPLY_BYTES_MAX: Final = 262_144
REPLIES_BYTES_MAX: Final = 524_288
#: Behaviour and assignments that no release asks about any more are kept up to so many.
SIGNALS_KEPT_MAX: Final = 256
ASSIGNMENTS_KEPT_MAX: Final = 256

#: Within this time what an erasure replaced is gone from the files of a worker that runs.
COMPACTED_MS: Final = 3_600_000
