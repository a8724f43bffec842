"""A state made of sections, each of which stays encoded until somebody looks at it.

What a record costs then depends on what it reads and changes, not on how much is known: a section that nobody looked
at is neither decoded nor encoded again, its bytes are copied. A small state is decoded and encoded in one go instead,
which costs less than looking after its sections; the bytes are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    Generic,
    TypedDict,
    TypeVar,
    dataclass_transform,
    get_type_hints,
)

import msgspec

if TYPE_CHECKING:
    from pipeline.core.decide.footprint import View
    from pipeline.core.identity.merge import Merging
    from pipeline.core.identity.undo import Undoing
    from pipeline.core.learn import Hearing

#: Up to so many bytes a state is small.
SMALL_BYTES_MAX: Final = 16_384

T = TypeVar("T")
S = TypeVar("S", bound="State")


def own_stays(own: T, given: T, merging: Merging) -> T:
    """Of a merge, a section that is the winner's whatever the other side has."""
    return own


def nothing_goes(own: T, given: T, displaced: T, undoing: Undoing) -> T:
    """Of an undone merge, a section out of which nothing can or need be taken."""
    return own


def as_given(given: T, holder: T) -> T:
    """Of what goes back, a section that goes back as it came."""
    return given


@dataclass(frozen=True, slots=True)
class Section(Generic[T]):
    """What every part of a state can do. Its functions are pure, and change no argument."""

    #: False as a truth value, as nothing else that the section can hold is: it is not stored.
    empty: T
    #: Of the winner's and of what was given up to it: what the winner has then.
    merge: Callable[[T, T, Merging], T] = own_stays
    #: Of the winner's, the given-up one and the merged one: what the merge put out of force, kept to go back to.
    displaced: Callable[[T, T, T], T] | None = None
    #: Of the whole, of what was given up and of what that had put out of force: the whole without it.
    subtract: Callable[[T, T, T, Undoing], T] = nothing_goes
    #: Of what was given up and of the whole: what goes back to the key that gave it up.
    returned: Callable[[T, T], T] = as_given
    #: What a decision can read of it, for its audit; None: nothing.
    read: Callable[[T, View], T] | None = None
    #: Of an event of behaviour that may be learnt: what is known after it; None: it says nothing of this by itself.
    hear: Callable[[T, Hearing], T] | None = None
    #: Whether having it makes a state more than a name: what holds nothing that counts leaves nothing to undo.
    counts: bool = False


def section(*, default: Section[Any]) -> Any:
    """Declares a section of a state; a state without it has the section's `empty`."""
    return default


def whole(own: T, view: View) -> T:
    """Of what a decision can read, all of it."""
    return own


class UndecodableError(ValueError):
    """A section's bytes are not of its type. Never bad input: the table holds something else."""


class _Undecoded:
    """A section of an instance that nobody has looked at: gives way to the instance's own attribute from then on."""

    __slots__ = ("_empty", "_name")

    def __init__(self, name: str, empty: Any) -> None:
        self._name = name
        self._empty = empty

    def __get__(self, state: State | None, kind: type[State]) -> Any:
        if state is None:
            return kind.SECTIONS[self._name]
        name = self._name
        encoded = state._encoded.get(name)
        value = state.__dict__[name] = self._empty if encoded is None else state.section_of(name, encoded)
        return value


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(section,))
class State:
    """What lies at a key. Replaced whole (`changed`), never changed in place; its values are shared between versions.

    A subclass declares its sections as `name: type = section(default=…)`, and a tag that tells it apart in bytes.
    """

    SECTIONS: ClassVar[dict[str, Section[Any]]] = {}
    _MARK: ClassVar[bytes] = b""
    _TAGS: ClassVar[dict[int, type[State]]] = {}
    _decoders: ClassVar[dict[str, Callable[[Any], Any]] | None] = None
    _decode_small: ClassVar[Callable[[Any], dict[str, Any]] | None] = None
    _EMPTY: ClassVar[dict[str, Any]] = {}
    #: As they were stored: every section that was not empty then. None are where all sections are attributes, in order.
    _encoded: Mapping[str, Any]
    #: Sections that are no longer as they were stored. What was looked at, or is new, is an attribute.
    _changed: Set[str]

    def __init_subclass__(cls, *, tag: int) -> None:
        own = {name: one for name, one in vars(cls).items() if isinstance(one, Section)}
        for name in own:
            setattr(cls, name, _Undecoded(name, own[name].empty))
        cls.SECTIONS, cls._MARK = own, bytes((tag,))
        cls._EMPTY = {name: own[name].empty for name in sorted(own)}
        State._TAGS[tag] = cls

    if not TYPE_CHECKING:
        __slots__ = ("__dict__", "_changed", "_encoded")

        def __init__(self, **sections: Any) -> None:
            if not sections.keys() <= self.SECTIONS.keys():
                raise TypeError(f"{type(self).__name__} has no {', '.join(sections.keys() - self.SECTIONS.keys())}")
            self.__dict__ = {**self._EMPTY, **sections}
            self._encoded, self._changed = _NOTHING, _NONE

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(getattr(self, name) == getattr(other, name) for name in self.SECTIONS)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        told = (f"{name}={value!r}" for name, value in self.held().items())
        return f"{type(self).__name__}({', '.join(told)})"

    def held(self) -> dict[str, Any]:
        """Every section that is not empty, by name."""
        return {name: value for name in self.SECTIONS if (value := getattr(self, name))}

    def encoded(self) -> bytes:
        """The tag, and the sections that are not empty by name, as MessagePack. The same state always gives the same
        bytes. Raises OverflowError past 64-bit numbers."""
        if not self._encoded:
            return self._MARK + _encode({name: value for name, value in self.__dict__.items() if value})
        return self._MARK + _encode(self._parts(_as_it_is))

    def settled(self) -> bytes:
        """As `encoded`, of a state that is likely to be encoded again with other changes: unless it is small, each
        section is encoded by itself, and its bytes stay with it."""
        if not self._encoded:
            data = self.encoded()
            if len(data) <= SMALL_BYTES_MAX:
                return data
        if self._changed or not self._encoded:
            self._encoded, self._changed = self._parts(_by_itself), _NONE
        return self._MARK + _encode(self._encoded)

    def _parts(self, part: Callable[[Any], Any]) -> dict[str, Any]:
        """Sections that are not empty by name, in order: as they were stored, or what `part` makes of their value."""
        known = self.__dict__
        parts = dict(self._encoded)
        for name in self._changed if self._encoded else known:
            if value := known[name]:
                parts[name] = part(value)
            else:
                parts.pop(name, None)
        return _in_order(parts)

    @staticmethod
    def decoded(data: bytes | memoryview) -> State:
        """The state of `encoded` bytes, no section of it decoded unless it is small. Raises msgspec.DecodeError."""
        kind = State._TAGS.get(data[0]) if len(data) else None
        if kind is None:
            raise msgspec.DecodeError(f"no state begins with {bytes(data[:1]).hex() or 'nothing'}")
        body = data[1:]
        if len(data) <= SMALL_BYTES_MAX:
            known = (kind._decode_small or kind._prepared())(body)
            if len(known) == _length(body):
                return _made(kind, _NOTHING, {**kind._EMPTY, **known}, _NONE)
        parts = _decode(body)
        if not parts.keys() <= kind.SECTIONS.keys():
            raise msgspec.DecodeError(f"{kind.__name__} has no section {min(parts.keys() - kind.SECTIONS.keys())}")
        return _made(kind, parts, {} if parts else {**kind._EMPTY}, _NONE)

    @classmethod
    def _prepared(cls) -> Callable[[Any], dict[str, Any]]:
        """What decodes a small state, and passes over sections that it does not know."""
        hints = get_type_hints(cls)
        # A type checker knows only a TypedDict whose names are written out.
        small: Any = TypedDict(cls.__name__, {name: hints[name] for name in cls.SECTIONS}, total=False)  # type: ignore[misc]
        decoder: msgspec.msgpack.Decoder[dict[str, Any]] = msgspec.msgpack.Decoder(small, dec_hook=_from_bytes)
        cls._decode_small = decoder.decode
        return decoder.decode

    @classmethod
    def section_of(cls, name: str, data: Any) -> Any:
        """A section's value of `section_bytes`. Raises UndecodableError."""
        if cls._decoders is None:
            hints = get_type_hints(cls)
            cls._decoders = {known: msgspec.msgpack.Decoder(hints[known], dec_hook=_from_bytes).decode
                             for known in cls.SECTIONS}
        try:
            return cls._decoders[name](data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UndecodableError(f"{cls.__name__}.{name}: {error}") from error


def changed(state: S, **changes: Any) -> S:
    """The state with some sections replaced."""
    differ = state._changed | changes.keys() if state._encoded else _NONE
    return _made(type(state), state._encoded, {**state.__dict__, **changes}, differ)


def _made(kind: type[S], encoded: Mapping[str, Any], known: dict[str, Any], changes: Set[str]) -> S:
    made = object.__new__(kind)
    made.__dict__ = known
    # Frozen to the type checker, as it is to everybody else.
    made._encoded, made._changed = encoded, changes
    return made


def _in_order(parts: dict[str, Any]) -> dict[str, Any]:
    """The parts by name. Nearly always they are so already, which sorting sees at once."""
    names = sorted(parts)
    return parts if names == list(parts) else {name: parts[name] for name in names}


def _to_bytes(value: Any) -> bytes:
    if isinstance(value, State):
        return value.encoded()
    raise TypeError(f"a section holds a {type(value).__name__}")


def _from_bytes(kind: type, value: Any) -> State:
    if issubclass(kind, State) and isinstance(value, bytes):
        return State.decoded(value)
    raise msgspec.ValidationError(f"not the bytes of a {kind.__name__}")


def section_bytes(value: Any) -> bytes:
    """One section's value by itself."""
    return _encode(value)


def _by_itself(value: Any) -> Any:
    return msgspec.Raw(_encode(value))


def _length(body: bytes | memoryview) -> int:
    """How many entries a MessagePack map has, by how it begins."""
    return body[0] & 0x0F if body[0] & 0xF0 == 0x80 else int.from_bytes(body[1:3], "big")


def _as_it_is(value: Any) -> Any:
    return value


_NONE: Final[frozenset[str]] = frozenset()
_NOTHING: Final[dict[str, Any]] = {}
_encode: Final = msgspec.msgpack.Encoder(enc_hook=_to_bytes).encode
_decode: Final = msgspec.msgpack.Decoder(dict[str, msgspec.Raw]).decode
