"""Files of accounts: what they make, and what is said about each line that cannot be used."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import pytest

from pipeline.codecs import avro
from pipeline.core.identity.accounts import account_key
from pipeline.core.identity.identifiers import identifier
from pipeline.core.model.definitions import Policy
from pipeline.core.model.records import IdentityEvent
from pipeline.ingest import account_import
from pipeline.ingest.event_bodies import SegmentEvent
from pipeline.ingest.event_mapping import EventMapper
from pipeline.ingest.group_mapping import account_of
from pipeline.ingest.line_file import TOLD_MAX, Import
from tests.core.build import made
from topics.catalog import IDENTITY_EVENTS

KEY, NOW_MS = (b"k",), 1_700_000_000_000
CSV = """id,name,plan,employees,postcode,vip,contract.ends,consent.contact,consent.contact/email
acme,Acme,pro,250,01234,true,2027-01-31,yes,no
initech,"Initech, Ltd",,17,,,,,
"""


POLICY: Final = made({
    "attributes": {"account": {
        "postcode": "string", "employees": "int", "score": "double", "vip": "bool", "tags": "list(string)",
        "since": "timestamp", "contract_value": "double"}},
    "consent": {"purposes": {"contact": ""}, "categories": {"C4": ["contact/email"]}},
}).policy


def read(text: str, csv: bool = True, policy: Policy | None = POLICY) -> Import:
    return account_import.read(text.splitlines(keepends=True), csv, KEY, "shop", policy, NOW_MS)


def events(found: Import) -> list[IdentityEvent]:
    assert found.errors.lines == []
    return [avro.decode(IDENTITY_EVENTS, record.value) for record in found.records]


def test_a_csv_file_says_what_its_cells_look_like() -> None:
    found = read(CSV)
    acme, initech = events(found)
    assert acme.subject == account_key(KEY, "shop", "acme") == (found.records[0].key or b"").decode()
    assert acme.traits == {"name": "Acme", "plan": "pro", "employees": 250, "postcode": "01234", "vip": True,
                           "contract_ends": "2027-01-31T00:00:00+00:00"}
    assert [(one.purpose, one.channel, one.granted) for one in acme.consent] == [
        ("contact", None, True), ("contact", "email", False)]
    assert initech.traits == {"name": "Initech, Ltd", "employees": 17}, "an empty cell says nothing"
    assert initech.consent == [] and acme.event_id != initech.event_id


def test_json_lines_say_exactly_what_they_say() -> None:
    [event] = events(read('\n{"id": 17, "traits": {"code": "007"}, "contract": {"starts": "2026-01-31T08:00:00+01:00"},'
                          ' "consent": {"contact": true}}\n', csv=False))
    assert event.traits == {"code": "007", "contract_starts": "2026-01-31T07:00:00+00:00"}
    assert event.subject == account_key(KEY, "shop", "17")


@pytest.mark.parametrize(("text", "csv", "said"), [
    ("", True, "the file names no account"),
    ("name\nAcme\n", True, "line 1: the first line names the columns, one of them `id`"),
    ("id,id\n", True, "line 1: every column has a name of its own"),
    ("id,contract.begins\n", True, "line 1: contract.begins is no part of a contract"),
    ("id,plan\na\n", True, "line 2: has 1 cells, the first line names 2"),
    ('id,plan\na,"x\n', True, "is no CSV"),
    ("id,plan\na,x\nb,y\na,z\n", True, "line 4: the account is in line 2 already"),
    ("id,plan\n,x\n", True, "line 2: id is missing"),
    ("id,plan\nnull,x\n", True, "line 2: id: this value stands for nobody"),
    ("id,plan\na,\n", True, "line 2: nothing is said about the account"),
    ("id,contract.ends\na,soon\n", True, "line 2: traits/contract/ends: is no moment"),
    ("id,consent.contact\na,maybe\n", True, "line 2: consent/contact: is neither true nor false"),
    ("nonsense\n", False, "line 1: is no JSON"),
    ("[1]\n", False, "line 1: is no JSON object"),
    ('{"id": "a", "plan": "x"}\n', False, "line 1: 'plan' is not known here: traits go into \"traits\""),
    ('{"traits": {}}\n', False, "line 1: id is missing"),
    ('{"id": true, "traits": {}}\n', False, "line 1: id: an id is a text or a whole number"),
    ('{"id": 17.5, "traits": {}}\n', False, "line 1: id: an id is a text or a whole number"),
    ('{"id": "a", "consent": {"con#tact": true}}\n', False, "line 1: consent/con#tact: name a purpose"),
    ('{"id": "a", "consent": {"contact": 1}}\n', False, "line 1: consent/contact: is neither true nor false"),
    ('{"id": "a", "traits": [1]}\n', False, "line 1: traits and contract are objects"),
    ('{"id": "a", "consent": {"": true}}\n', False, "line 1: consent/: name a purpose, or a purpose/channel"),
])
def test_what_cannot_be_used_is_said_by_line(text: str, csv: bool, said: str) -> None:
    found = read(text, csv)
    assert any(said in one for one in found.errors.lines), found.errors


def test_what_is_personal_stays_here_and_errors_are_bounded() -> None:
    found = read("id,plan,email\na,x,ada@example.com\n")
    assert events(found)[0].traits == {"plan": "x"}
    assert found.warnings.lines == ["line 2: traits.email was dropped: personal data stays at the edge"]
    errors = read("id,plan\n" + "a\n" * 200).errors
    assert len(errors.lines) == TOLD_MAX + 1 and errors.lines[-1] == "and 150 more" and errors.count == 200


def test_the_cells_of_declared_attributes_are_read_as_declared() -> None:
    found = read("id,postcode,employees,score,vip,tags,since,contract.value,free\n"
                 'acme,80331,17.0,1e3,yes,"a, b",1738310400000,12,80331\n')
    [event] = events(found)
    assert found.warnings.lines == []
    assert event.traits == {"postcode": "80331", "employees": 17, "score": 1_000.0, "vip": True, "tags": "a, b",
                            "since": 1_738_310_400_000, "contract_value": 12, "free": 80_331}
    assert POLICY is not None and all(
        POLICY.account[name].convert(value) is not None for name, value in event.traits.items() if name != "free")


@pytest.mark.parametrize(("column", "cell", "declared"), [
    ("employees", "007", "int"), ("employees", "1,5", "int"), ("employees", "17.5", "int"),
    ("score", "1 000", "double"),
    ("vip", "1", "bool"), ("since", "1738310400", "timestamp"), ("since", "20260131", "timestamp"),
    ("since", "202601310800", "timestamp"), ("since", "20260131080000", "timestamp"),
    ("contract.value", "a lot", "double"),
])
def test_a_cell_that_does_not_fit_goes_on_with_a_warning(column: str, cell: str, declared: str) -> None:
    found = read(f'id,{column}\nacme,"{cell}"\n')
    [event] = events(found)
    [warning] = found.warnings.lines
    assert f"is declared {declared} and a" in warning and "no rule will know it" in warning
    assert event.traits[column.replace(".", "_")] in (cell, 17.5)


def test_consent_is_doubted_and_mapped_by_the_live_policy_as_that_of_a_group_event_is() -> None:
    found = read('{"id": "a", "consent": {"contacts": true, "contact/fax": "no", "C4": true}}', csv=False)
    [event] = events(found)
    assert [(one.purpose, one.channel, one.granted) for one in event.consent] == [
        ("contacts", None, True), ("contact", "fax", False), ("contact", "email", True)]
    mapper = EventMapper("shop", partial(identifier, KEY, "shop"), partial(account_of, KEY, "shop"), POLICY)
    body: Any = {"type": "group", "groupId": "a", "context": {"accountConsent": {"categoryPreferences": {
        "contacts": True, "contact/fax": False, "C4": True}}}}
    group = mapper.map(SegmentEvent.model_validate(body), NOW_MS, "made-up")
    assert found.warnings.lines == [f"line 1: {one}" for one in group.warnings] and len(group.warnings) == 2


def test_without_a_live_policy_it_is_said_that_nothing_is_checked() -> None:
    found = read('{"id": 17.0, "traits": {"plan": "pro"}}', csv=False, policy=None)
    assert events(found)[0].subject == account_key(KEY, "shop", "17")
    [warning] = found.warnings.lines
    assert warning == ("the tenant shop has no live policy: names of purposes and channels, and the types of traits, "
                       "are not checked")


def test_a_file_with_semicolons_says_so() -> None:
    found = read("id;name\n1;Acme\n")
    assert "the columns are separated by `;`: separate them by `,`" in str(found.errors)
