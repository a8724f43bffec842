"""`nextbest identity`: what a file of events would join, with reasons, and nothing raw in what is printed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.adapters import profile_reader, reading
from pipeline.cli import identity as cli_identity
from pipeline.cli.main import app
from pipeline.core.identity import accounts
from pipeline.core.identity.identifiers import identifier, key_of
from pipeline.core.identity.identity_rules import DEFAULT
from pipeline.core.model.records import IdentityEvent, IdentityKind
from pipeline.runtime.memory import MemoryPipeline
from pipeline.topology import FLOWS
from topics.catalog import IDENTITY_EVENTS

ROOT = Path(__file__).parents[2]
EVENTS = [
    {"type": "identify", "userId": "ann", "anonymousId": "v1", "traits": {"email": "ann@example.org"}},
    {"type": "identify", "userId": "ben", "anonymousId": "v1", "traits": {"email": "ann@example.org"}},
    {"type": "identify", "userId": "ben", "traits": {"email": "test@example.com"}},
    {"type": "track", "userId": "0", "event": "x"},
    {"type": "logout", "anonymousId": "v1"},
]


def simulate(tmp_path: Path, *options: str) -> Any:
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(json.dumps(one) for one in EVENTS) + "\nno event\n", "utf-8")
    return CliRunner().invoke(app, ["identity", "simulate", str(file), "--policy", str(ROOT / "policy"), *options])


def test_a_file_of_events_is_tried_before_it_joins_anybody(tmp_path: Path) -> None:
    done = simulate(tmp_path, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    links = [[(one["type"], one["outcome"], one["cause"]) for one in event["links"]] for event in told["events"]]
    assert sorted(links[0]) == [("anonymous_id", "linked", ""), ("email", "linked", "")]
    assert sorted(links[1]) == [("anonymous_id", "left", "later_login"), ("anonymous_id", "linked", ""),
                                ("email", "limited", "limit:user_id")]
    assert "the policy blocks this value as a email" in told["events"][2]["warnings"][0]
    assert told["events"][3]["errors"][0].startswith("/userId: this value stands for nobody")
    assert links[4] == [("anonymous_id", "left", "logout")]
    assert told["events"][5]["errors"][0].startswith("The body is not JSON")
    assert told["summary"]["links"]["limited limit:user_id"] == 1
    assert not {"ann@example.org", "test@example.com", "v1"} & set(done.stdout.replace('"', " ").split())


def test_the_table_says_the_same(tmp_path: Path) -> None:
    done = simulate(tmp_path)
    assert done.exit_code == 0 and "1 limited limit:user_id" in " ".join(done.stdout.split())


def test_a_missing_file_and_a_wrong_name_are_one_sentence(tmp_path: Path) -> None:
    options = ["identity", "simulate", str(tmp_path / "none"), "--policy", str(ROOT / "policy")]
    missing = CliRunner().invoke(app, options)
    assert missing.exit_code == 1 and "No such file" in missing.stderr
    wrong = CliRunner().invoke(app, ["identity", "show", "ann"])
    assert wrong.exit_code == 1 and "TYPE:VALUE" in wrong.stderr


@pytest.fixture
def half_way(monkeypatch: pytest.MonkeyPatch) -> MemoryPipeline:
    """A cluster in which the tenant's key is being changed: ann was met since, ben was not yet."""
    pipeline = MemoryPipeline(FLOWS)
    for name, keys in (("ann", (b"old",)), ("ben", (b"old",)), ("ann", (b"new", b"old"))):
        known = identifier(keys, "default", "user_id", name)
        mail = identifier(keys, "default", "email", f"{name}@example.org")
        firm = accounts.identifier(keys, "default", "acme")
        pipeline.send(IDENTITY_EVENTS, key_of("default", known), IdentityEvent(
            f"{name}{len(keys)}", key_of("default", known), IdentityKind.IDENTIFY, pipeline.clock.at_ms,
            subject_type="user_id", identifiers=[mail], earlier=known.earlier))
        pipeline.send(IDENTITY_EVENTS, key_of("default", firm), IdentityEvent(
            f"firm{name}{len(keys)}", key_of("default", firm), IdentityKind.TRAITS, pipeline.clock.at_ms,
            traits={"plan": "pro"}, earlier=firm.earlier))
        pipeline.run()

    def changes(_: object, place: tuple[str, int], __: object) -> Iterator[tuple[bytes, bytes | None, int]]:
        return ((key, value, offset) for offset, (key, value) in enumerate(pipeline.changelog[place[1]]))

    monkeypatch.setattr(profile_reader, "_changes", changes)
    monkeypatch.setattr(profile_reader, "key_encryption_of", lambda _: pipeline.key_encryption)
    monkeypatch.setattr(reading, "reader", lambda *_: io.BytesIO())
    monkeypatch.setattr(cli_identity, "_rules", lambda *_: DEFAULT)
    monkeypatch.setenv("NEXTBEST_TENANT_KEY", "new,old")
    return pipeline


def told(*arguments: str) -> Any:
    done = CliRunner().invoke(app, ["identity", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_keys_counts_what_has_come_over_and_what_has_not(half_way: MemoryPipeline) -> None:
    assert told("keys") == {
        "profiles": {"kept": 2, "come_over": 1, "earlier": 1}, "aliases": {"kept": 2, "come_over": 1, "earlier": 1},
        "accounts": {"kept": 1, "come_over": 1, "earlier": 0}}
    assert told("keys", "--since", "2099-01-01")["profiles"] == {"kept": 2, "come_over": 0, "earlier": 2}
    assert "earlier key alone is unknown" in CliRunner().invoke(app, ["identity", "keys"]).stdout


@pytest.mark.parametrize("name", ["ann", "ben"])
def test_show_finds_people_under_both_keys(half_way: MemoryPipeline, name: str) -> None:
    keys = (b"new", b"old") if name == "ann" else (b"old",)
    profile = key_of("default", identifier(keys, "default", "user_id", name))
    for who in (f"user_id:{name}", f"email:{name}@example.org"):
        assert told("show", who)["profile"] == profile
    if name == "ann":
        before = key_of("default", identifier((b"old",), "default", "user_id", name))
        assert told("show", before)["chain"] == [before, profile]
