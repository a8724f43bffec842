"""Files of accounts: what they make, and what is said about each line that cannot be used."""

from __future__ import annotations

import pytest

from pipeline.codecs import avro
from pipeline.core.identity.accounts import account_key
from pipeline.core.model.records import IdentityEvent
from pipeline.ingest import account_import
from pipeline.ingest.line_file import TOLD_MAX, Import
from topics.catalog import IDENTITY_EVENTS

KEY, NOW_MS = (b"k",), 1_700_000_000_000
CSV = """id,name,plan,employees,postcode,vip,contract.ends,consent.contact,consent.contact/email
acme,Acme,pro,250,01234,true,2027-01-31,yes,no
initech,"Initech, Ltd",,17,,,,,
"""


def read(text: str, csv: bool = True) -> Import:
    return account_import.read(text.splitlines(keepends=True), csv, KEY, "shop", NOW_MS)


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
    ("id,consent.contact\na,maybe\n", True, "line 2: consent.contact: say true or false"),
    ("nonsense\n", False, "line 1: is no JSON"),
    ("[1]\n", False, "line 1: is no JSON object"),
    ('{"id": "a", "plan": "x"}\n', False, "line 1: 'plan' is not known here: traits go into \"traits\""),
    ('{"id": true, "traits": {}}\n', False, "line 1: id is missing"),
    ('{"id": "a", "traits": [1]}\n', False, "line 1: traits and contract are objects"),
    ('{"id": "a", "consent": {"": true}}\n', False, "line 1: consent.: say true or false"),
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
