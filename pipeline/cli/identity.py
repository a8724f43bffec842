"""`nextbest identity show|simulate|unmerge`: who belongs to whom, and why. No raw identifier is printed."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from pipeline.adapters import kafka, profile_reader
from pipeline.adapters.system_clock import SystemClock
from pipeline.cli.cluster import AsJson, Bootstrap, answering, fail, out, settings_for, when
from pipeline.cli.importing import followed
from pipeline.codecs import avro
from pipeline.core.identity import identifiers
from pipeline.core.identity.identity_rules import DEFAULT, IdentityRules
from pipeline.core.keys import beside, hash_of
from pipeline.core.model.records import Identifier, IdentityEvent, IdentityKind
from pipeline.core.model.values import asdict
from pipeline.core.subject import Person, Subject, given_up, leads_to
from pipeline.identity_tools.come_over import come_over
from pipeline.identity_tools.simulate import Line, Simulation, as_dict, encoded, subjects_of
from pipeline.policy.load import PolicyError, load
from pipeline.settings import Settings
from topics.catalog import CATALOG_ITEMS, IDENTITY_EVENTS, POLICY_RELEASES

app = typer.Typer(no_args_is_help=True, add_completion=False,
                  help="Identities: show a profile's links, try events before they join, undo merges.")

Who = Annotated[str, typer.Argument(metavar="WHO", help="TYPE:VALUE, as email:ann@example.com; or TENANT/HASH.")]
Tenant = Annotated[str | None, typer.Option("--tenant", help="The tenant; default: the configured one.")]
_ANSWER_S = 15.0


@app.command()
def show(who: Who, tenant: Tenant = None, bootstrap: Bootstrap = None, as_json: AsJson = False) -> None:
    """Show the profile that an identifier belongs to, and its links with their evidence."""
    settings = settings_for(bootstrap)
    with answering(settings):
        key, chain, found = located(settings, who, tenant)
    profile = found.get(chain[-1])
    if profile is None:
        raise fail(f"Nothing is kept under {key}: no event of this identifier was applied yet, or not in this cluster.")
    if not isinstance(profile, Person):
        raise fail(f"{chain[-1]} was erased, or is an account: there is no profile to show.")
    gifts = {name: given_up(one) for name, one in found.items() if name in chain}
    undo = {name: {"to": one.to, "event_id": one.event_id, "at_ms": one.at_ms}
            for name, one in gifts.items() if one is not None}
    body = {"key": key, "profile": chain[-1], "chain": chain, "undoable": undo,
            "links": [{"hash": hash_, **asdict(link)} for hash_, link in profile.links.items()],
            "merged": {name: {"event_id": one.event_id, "at_ms": one.at_ms} for name, one in profile.merged.items()}}
    if as_json:
        typer.echo(encoded(body))
        return
    out.print(" → ".join(chain), markup=False, highlight=False)
    table = Table("Type", "Hash", "Outcome", "Cause", "Event", "When", "Source")
    for hash_, link in profile.links.items():
        table.add_row(link.type, hash_, link.outcome, link.cause, link.event_id, when(link.at_ms), link.source)
    out.print(table)
    out.print(f"{len(profile.merged)} merged states; to undo one: nextbest identity unmerge TYPE:VALUE")


@app.command()
def simulate(
    file: Annotated[Path, typer.Argument(help="One event a line, as POST /v1/events takes it.", dir_okay=False)],
    policy: Annotated[Path, typer.Option("--policy", help="The policy folder to try.")] = Path("policy"),
    cluster: Annotated[bool, typer.Option("--cluster", help="Begin with the profiles of the running cluster.")] = False,
    tenant: Tenant = None, bootstrap: Bootstrap = None, as_json: AsJson = False,
) -> None:
    """Say what events would join, leave out and refuse, and why. Sends nothing."""
    settings = settings_for(bootstrap)
    name = tenant or settings.tenant
    try:
        live = load(policy).live(name)
        text = file.read_bytes()
    except PolicyError as error:
        raise fail(f"{error}\nNothing was tried: correct the policy first.") from error
    except OSError as error:
        raise fail(f"{error.filename}: {error.strerror}") from error
    trial = Simulation(live, name, settings.tenant_keys, SystemClock().now_ms())
    read = [trial.mapped(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if cluster:
        with answering(settings):
            keys = {key for _, events in read for key in subjects_of(events)}
            trial.states |= profile_reader.read(settings, keys)
    lines = [trial.take(line, events) for line, events in read]
    summary = trial.summary(lines)
    if as_json:
        typer.echo(encoded({"events": [as_dict(line) for line in lines], "summary": summary}))
    else:
        _tell(lines, summary)


@app.command()
def unmerge(who: Who, tenant: Tenant = None, bootstrap: Bootstrap = None, as_json: AsJson = False) -> None:
    """Take an identifier, with what it brought, out of the profile it belongs to."""
    settings = settings_for(bootstrap)
    with answering(settings):
        key, known = subject_key(settings, who, tenant)
        event = IdentityEvent(f"unmerge-{os.urandom(8).hex()}", key, IdentityKind.UNMERGE, SystemClock().now_ms(),
                              source="cli", subject_type=known.type, earlier=known.earlier)
        producer = kafka.producer(settings, "identity")
        failed: list[str] = []
        producer.produce(IDENTITY_EVENTS.name, key=key.encode(), value=avro.encode_checked(IDENTITY_EVENTS, event),
                         on_delivery=lambda error, _: failed.append(str(error)) if error else None)
        if producer.flush(_ANSWER_S) or failed:
            raise fail(f"The cluster at {settings.bootstrap} did not take it: {(failed or ['no answer'])[0]}.")
    if as_json:
        typer.echo(encoded({"event_id": event.event_id, "key": key}))
    else:
        out.print(f"{key} was asked back; `nextbest identity show {key}` says what became of it.", markup=False)


@app.command()
def keys(
    since: Annotated[datetime | None, typer.Option(
        help="When the new key was put first, in UTC; default: whatever came over, ever.")] = None,
    bootstrap: Bootstrap = None, as_json: AsJson = False,
) -> None:
    """Count what has come over to the tenant's new key, and what is still kept under an earlier one alone."""
    settings = settings_for(bootstrap)
    since_ms = 0 if since is None else int(since.replace(tzinfo=since.tzinfo or UTC).timestamp() * 1_000)
    with answering(settings):
        found = come_over(profile_reader.every(settings), since_ms)
    if as_json:
        typer.echo(encoded(found))
        return
    table = Table("", "kept", "come over", "under an earlier key")
    for what, counts in found.items():
        table.add_row(what, *(f"{counts[name]:,}" for name in ("kept", "come_over", "earlier")))
    out.print(table)
    out.print("Whoever is under an earlier key alone is unknown once that key is taken out of NEXTBEST_TENANT_KEY.")


def _tell(lines: list[Line], summary: dict[str, Any]) -> None:
    table = Table("Line", "Event", "Identifier", "Outcome", "Cause", "Profile")
    for line in lines:
        for one in line.links:
            table.add_row(str(line.line), line.type, f"{one.type} {one.hash[:8]}", one.outcome, one.cause, one.profile)
        for what, texts in (("refused", line.errors), ("warning", line.warnings)):
            for text in texts:
                table.add_row(str(line.line), line.type, "", what, text, "")
    out.print(table)
    told = ", ".join(f"{count} {what}" for what, count in summary["links"].items()) or "nothing"
    out.print(f"{summary['profiles']} profiles, {summary['aliases']} aliases; {told}")


def subject_key(settings: Settings, who: str, tenant: str | None) -> tuple[str, Identifier]:
    """The subject key meant, and what is known of its identifier."""
    type_, colon, value = who.partition(":")
    if not colon:
        if who.count("/") != 1:
            raise fail("Name somebody as TYPE:VALUE (email:ann@example.com), or by a key TENANT/HASH.")
        return who, Identifier("", hash_of(who))
    name = tenant or settings.tenant
    try:
        known = identifiers.identifier(settings.tenant_keys, name, type_, value, _rules(settings, name))
    except identifiers.IdentifierError as error:
        raise fail(f"{type_}: {error}.") from error
    return identifiers.key_of(name, known), known


def located(settings: Settings, who: str, tenant: str | None) -> tuple[str, list[str], dict[str, Subject]]:
    """The subject key meant; the keys from where it is kept to the profile it belongs to, last; what lies at each."""
    key, known = subject_key(settings, who, tenant)
    names = [key, *(beside(key, name) for name in known.earlier)]
    found = profile_reader.read(settings, names)
    return key, _chain(next((name for name in names if name in found), key), found), found


def _rules(settings: Settings, tenant: str) -> IdentityRules:
    """The live policy's, which say how a value is spelt; the engine's own where none is live."""
    live = followed(settings, (POLICY_RELEASES, CATALOG_ITEMS)).live(tenant)
    return DEFAULT if live is None else live.policy.identity


def _chain(key: str, found: dict[str, Subject]) -> list[str]:
    chain = [key]
    while (to := leads_to(found.get(chain[-1]))) is not None and to not in chain:
        chain.append(to)
    return chain
