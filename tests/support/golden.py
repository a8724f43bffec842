"""One fixed value per schema subject, and the golden samples made of them.

`python -m tests.support.golden` gives new schema files an id in `schemas/registry.json`, or else writes the samples
that are missing. It changes nothing that exists: old bytes must stay readable for ever.
With `--unreleased` it makes the newest versions anew, which nobody has used yet; with `--next` it writes down a next
version of the states' format.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any, Final, get_type_hints

import msgspec

from pipeline.codecs import avro, state
from pipeline.codecs.registry import NEWEST, SCHEMAS_DIR
from pipeline.core.features.kept import Entry, Kept, encoded
from pipeline.core.model import records
from pipeline.core.model.features import Layout
from pipeline.core.model.outcome_record import MatchedBy
from pipeline.core.model.values import Value, packed
from pipeline.core.sections.counters import Counter
from pipeline.core.sections.exposures import Awaiting, Exposure, Shown
from pipeline.core.sections.journeys import Position
from pipeline.core.sections.lifecycle import Stage
from pipeline.core.sections.links import Link
from pipeline.core.sections.memberships import Member
from pipeline.core.sections.merges import Merge
from pipeline.core.sections.retries import Remembered
from pipeline.core.sections.section import State, section_bytes
from pipeline.core.sections.seen import NOTHING
from pipeline.core.sections.sessions import Session
from pipeline.core.sections.traits import Trait
from pipeline.core.subject import Account, Erased, Given, ModelState, Person, Redirect, Rotation, Source, Subject
from topics.catalog import TOPICS, Topic

SAMPLES_DIR: Final = SCHEMAS_DIR / "samples"
STATE_DIR: Final = SCHEMAS_DIR / "state"
UNRELEASED: Final = "--unreleased" in sys.argv[1:]

SUBJECT = "default/5f1d7a84db00d2fce00b31a7fc73224f"
AT_MS = 1_790_000_000_000
POLICY_DIGEST = "8ff0a8f1b2a2d2d2c6f4f6a1b0c9d8e7"
CATALOG_DIGEST = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"

CONSENT = records.ConsentGrant("personalization", True, AT_MS, "web", "banner", AT_MS + 1, records.Basis.CONSENT,
                              records.OptIn.CONFIRMED, "form-7")
CHOSEN = records.Chosen(
    "spring-sale", "offer", "home-hero", "large", 1, 300, "hero-test:b",
    {"title": "Für dich", "discount": 0.25, "clicks": -3, "new": True, "image": None}, 12.5, 0.25, False,
)
REPLY = records.DecisionReply("req-1", "dec-1", [CHOSEN], False, "decided", "rel-1", None)
REQUEST = records.DecisionRequest(
    "req-1", SUBJECT, "web", ["home-hero", "side"], "home", 2, True,
    {"page": "/", "hour": 9, "load": 0.5, "mobile": False, "referrer": None}, AT_MS + 150, 3, "d41d8cd9",
    ["0cc175b9c0f1b6a831c399e269772661"],
)
PROFILE = Person(
    profile_id=SUBJECT,
    traits={"country": Trait("DE", AT_MS), "age": Trait(33, AT_MS), "score": Trait(-0.5, 1), "vip": Trait(True, 1)},
    consent={"personalization/web": CONSENT},
    accounts={"default/@acme": Member(("buyer",), AT_MS, False, AT_MS, ("@acme-1",))},
    segments={"regulars": AT_MS},
    segments_release="rel-1",
    segments_account=2,
    journeys={"onboarding": Position("explore", AT_MS, 1, 1, 2, "timeout", AT_MS)},
    stages=(Stage("new", 1), Stage("active", AT_MS)),
    behaviour={"view": (1, 2, AT_MS)},
    heard_ms=AT_MS,
    replies=8,
    features={"views#1": encoded(Kept(Layout.CELLS, "count", 100, 1, 0, 0, 0, {"": Entry(0, AT_MS, {0: 3})}))},
    sessions={"web": Session(1, AT_MS)},
    counters={"hero-cap": Counter((1, AT_MS), 7, {"dec-1": AT_MS + 300_000})},
    suppressions={"tag:shoes": AT_MS + 1},
    assignments={"hero-test": "b"},
    exposures={"dec-1": Exposure(
        AT_MS, "web", "home", "rel-1",
        (Shown("spring-sale", "home-hero", 0, 0.25, "spring", ("sale",), "large", "hero-test:b"),),
        b'{"profile.age":33}', {"home-hero": records.ModelUse("m", 3, {"spring-sale": (0.5, -1.0)})},
        {"purchase": AT_MS + 604_800_000}, {"0/purchase": 59.9}, {"0": AT_MS + 1}, {"0": AT_MS + 2})},
    awaiting={"evt-9": Awaiting("dec-9", AT_MS, AT_MS + 600_000, "spring-sale", "home-hero", {"purchase": 1.5})},
    requests={"req-1": Remembered("d41d8cd9", AT_MS, 7, packed(REPLY))},
    event_ids=NOTHING.after("e1", 1).after("e2", AT_MS),
    mentions={"default/third": AT_MS},
    merged={"default/old": Merge("evt-0", AT_MS, {
        "traits": section_bytes({"plan": Trait("free", 1)}),
        "accounts": section_bytes({"default/@globex": Member(("buyer",), 1)})})},
    alias_event="evt-0",
    alias_at=3,
    forwarded={"req-0": "default/other"},
    alias_clock=4,
    links={"9e107d9d372bb6826bd81d3542a419d6": Link("email", "limited", "evt-1", AT_MS, AT_MS + 5, "crm",
                                                    "limit:email")},
    given=Given("default/other", "evt-0", AT_MS, Person(profile_id=SUBJECT, event_ids=NOTHING.after("e0", 1))),
    erased_at_ms=AT_MS,
    rotation=Rotation("", ("e4da3b7f",), ("1679091c",), "default/1679091c", AT_MS),
    timers={"segments": AT_MS + 86_400_000},
)
REDIRECT = Redirect(
    profile_id=SUBJECT, to="default/other", alias_event="evt-0", alias_at=3, alias_clock=4,
    forwarded={"req-0": "default/other"}, given=PROFILE.given, links=PROFILE.links, event_ids=NOTHING.after("e0", 1),
    mentions={"default/third": AT_MS}, rotation=PROFILE.rotation, timers={"undo": AT_MS + 1},
)
FIRM = Account(
    profile_id="default/@acme", traits={"plan": Trait("pro", AT_MS)}, consent={"personalization": CONSENT},
    counters={"firm-cap": Counter((1,), 1)}, event_ids=NOTHING.after("e0", 1), version=5, leases=6,
    rotation=PROFILE.rotation, timers={"any": 1},
)
GONE = Erased(profile_id=SUBJECT, at_ms=AT_MS, rotation=PROFILE.rotation, timers={"settle": AT_MS})
#: By the name of its golden sample.
STATES: Final[dict[str, Subject]] = {"person": PROFILE, "redirect": REDIRECT, "account": FIRM, "erased": GONE}
STATES["model"] = ModelState(
    profile_id="default/%hero", form="beta;click;0.0..1.0;", items={"spring-sale": bytes(24)}, shared=b"\x01",
    sources={"feedback.events@1/3": Source(12, b"\x05")}, number=2, cut_ms=AT_MS, learnt=7, since_cut=1,
    rotation=PROFILE.rotation, timers={"cut": AT_MS})
IDENTITY = records.IdentityEvent(
    "evt-1", SUBJECT, records.IdentityKind.CONSENT, AT_MS,
    {"country": "DE", "age": 33, "score": -0.5, "vip": True, "city": None}, [CONSENT],
    [records.Identifier("email", "9e107d9d372bb6826bd81d3542a419d6", ["8f14e45fceea167a5a36dedd4bea2543"])],
    records.Membership("default/@acme", ["admin", "buyer"], False, True, ["@acme-1"]), "default/other", "shop", 3,
    "user_id", ["0cc175b9c0f1b6a831c399e269772661"], ["other-1"],
)
FEEDBACK = records.FeedbackEvent(
    "evt-2", SUBJECT, records.FeedbackKind.CONVERSION, AT_MS, "Order Completed", "spring-sale", "dec-1", "home-hero",
    "web", 59.9, {"currency": "EUR", "items": 2**40, "gift": False}, "shop",
    ["0cc175b9c0f1b6a831c399e269772661"],
)

ACCOUNT = records.Account(
    "default/@acme", 2, AT_MS, {"plan": "pro", "employees": 250, "contract_ends": "2027-01-31"}, [CONSENT]
)
MODEL_FORM = "linucb;click;0.0..1.0;context.x||1.0"
LEASE = records.Lease("default/@acme", 1, "default/@acme/6", AT_MS, {}, {"contacts|": 1}, {"contacts|": 4})

VALUES: Final[dict[str, Any]] = {
    "identity_event": IDENTITY,
    "feedback_event": FEEDBACK,
    "decision_request": REQUEST,
    "inbox_record": records.InboxRecord("evt-1", SUBJECT, "default/old", merge=PROFILE,
                                      earlier=["0cc175b9c0f1b6a831c399e269772661"]),
    "decision_reply": REPLY,
    "decision": records.Decision(
        "dec-1", "req-1", SUBJECT, AT_MS, "web", ["home-hero"], "home", [CHOSEN], False, "decided", "rel-1",
        POLICY_DIGEST, 77, CATALOG_DIGEST, ["hero-test:b"],
    ),
    "audit_record": records.AuditRecord(
        "dec-1", AT_MS, REQUEST, SUBJECT, PROFILE,
        [
            records.CandidateAudit("spring-sale", "home-hero", "chosen", "ranking", "", {}, 12.5, {"value": 2.5}),
            records.CandidateAudit("vip-only", "home-hero", "not_eligible", "eligibility", "profile.vip",
                                   {"v": "false"}),
        ],
        '{"purpose":"personalization"}', [CHOSEN], False, "decided", "rel-1",
        POLICY_DIGEST, 77, CATALOG_DIGEST, "0.1.0", ACCOUNT, LEASE,
        {"home-hero": records.ModelUse("hero", 3, {"spring-sale": (1.0, 0.25)}, MODEL_FORM)},
    ),
    "segment_change": records.SegmentChange(SUBJECT, "regulars", True, AT_MS, "evt-1", "rel-1"),
    "journey_change": records.JourneyChange(
        "default", "onboarding", "welcome", "explore", "event", AT_MS, AT_MS - 5_000, AT_MS - 9_000, False, "rel-1",
        SUBJECT, "evt-1"),
    "outcome": records.Outcome(
        "0cc175b9c0f1b6a831c399e269772661", "purchase", SUBJECT, AT_MS, "spring-sale", "spring-sale", 29.95,
        MatchedBy.DECISION, False, "linear", "rel-1", "evt-2", "dec-1", '{"profile.age":33}', 0.25, 0, "home-hero",
        "web", "home", "spring", "large", 0.5, "", AT_MS - 1, ["hero-test:b"], "m", 3,
    ),
    "catalog_item": records.CatalogItem("default", "spring-sale", '{"kind":"offer"}'),
    "policy_release": records.PolicyRelease("default", "rel-1", '{"segments":[]}', AT_MS, "ada", {"seen#1": AT_MS}),
    "account": ACCOUNT,
    "dead_letter": records.DeadLetter(
        "not_avro", "send Avro", "identity.events", 3, 12345, AT_MS, None, b"\xff{}", {"traceparent": b"00", "x": None},
        "identity", "worker-1",
    ),
}

VALUES["model_update"] = records.ModelUpdate(
    "default/%hero", MODEL_FORM,
    [records.Observation("spring-sale", (1.0, 0.25), -0.5, False, 1.0)], "feedback.events@1/3", 12,
)
VALUES["model_snapshot"] = records.ModelSnapshot(
    "default", "hero", 3, AT_MS, MODEL_FORM, 7, b"\x83", "0cc175b9c0f1b6a831c399e269772661",
)
VALUES["erasure_request"] = records.ErasureRequest("job-1", SUBJECT, records.ErasureAction.ERASE, AT_MS, "ticket 17")
VALUES["erasure_receipt"] = records.ErasureReceipt(
    "job-1", SUBJECT, records.ErasureAction.ERASE, SUBJECT, [SUBJECT, "default/old"], AT_MS, True, ["decision.audit"],
)

TOPIC_OF: Final[dict[str, Topic]] = {topic.schema: topic for topic in TOPICS if topic.schema is not None}


def plain(value: Any) -> Any:
    """The value as JSON would hold it; bytes as hex."""
    if isinstance(value, State):
        return {name: plain(getattr(value, name)) for name in value.SECTIONS}
    if isinstance(value, Value):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: plain(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [plain(held) for held in value]
    return value.hex() if isinstance(value, bytes) else value


def state_format() -> dict[str, Any]:
    """The sections of each kind of state and their types, without the words that describe them."""
    kinds = {kind.__name__: {name: msgspec.json.schema(hint, schema_hook=_bytes_of_a_state)
                             for name, hint in get_type_hints(kind).items() if name in kind.SECTIONS}
             for kind in (Person, Redirect, Account, Erased, ModelState)}
    return _without_words(json.loads(json.dumps(kinds)))  # type: ignore[no-any-return]


def _bytes_of_a_state(kind: type) -> dict[str, Any]:
    return {"type": "string", "contentEncoding": f"bytes of a {kind.__name__}"}


def _without_words(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_words(held) for key, held in node.items() if key not in ("description", "title")}
    return [_without_words(held) for held in node] if isinstance(node, list) else node


def fingerprint(path: Path) -> str:
    """What `schemas/registry.json` records of a released file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write(name: str, data: bytes, value: Any) -> None:
    path = SAMPLES_DIR / f"{name}.bin"
    if UNRELEASED or not path.exists():
        path.write_bytes(data)
        path.with_suffix(".json").write_text(json.dumps(plain(value), indent=1, ensure_ascii=False) + "\n", "utf-8")


def _register() -> list[str]:
    """Give every schema file that has none an id in the registry, and return them; what is released stays as it is."""
    path = SCHEMAS_DIR / "registry.json"
    known = json.loads(path.read_text("utf-8"))
    newest = {one["subject"]: one for one in sorted(known, key=lambda one: one["version"])}
    for one in newest.values() if UNRELEASED else ():
        one["sha256"] = fingerprint(SCHEMAS_DIR / one["file"])
    files = {found.relative_to(SCHEMAS_DIR).as_posix() for found in SCHEMAS_DIR.rglob("*.avsc")}
    added = sorted(files - {one["file"] for one in known})
    for number, file in enumerate(added, 1 + max(one["id"] for one in known)):
        subject, version, _ = Path(file).name.split(".")
        known.append({"id": number, "subject": subject, "version": int(version[1:]), "file": file,
                      "sha256": fingerprint(SCHEMAS_DIR / file)})
    path.write_text("[\n" + ",\n".join(f"  {json.dumps(one)}" for one in known) + "\n]\n", "utf-8")
    return added


def main() -> None:
    """Write what is missing."""
    if added := _register():
        print(f"Registered {', '.join(added)}: run this again for their samples")
        return
    if "--next" in sys.argv[1:]:
        _write_format(state.VERSION + 1)
        return
    for subject, value in VALUES.items():
        _write(f"{subject}.v{NEWEST[subject].version}", avro.encode(TOPIC_OF[subject], value), value)
    for name, value in STATES.items():
        _write(f"state_{name}.v{state.VERSION}", state.encode(value), value)
    if UNRELEASED:
        _write_format(state.VERSION)


def _write_format(version: int) -> None:
    (STATE_DIR / f"subject.v{version}.json").write_text(json.dumps(state_format(), indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
