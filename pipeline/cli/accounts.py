"""`nextbest accounts import|show`: endpoints to the accounts. What a file says is read by `pipeline.ingest`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pipeline.adapters.system_clock import SystemClock
from pipeline.cli.cluster import AsJson, Bootstrap, settings_for
from pipeline.cli.importing import Tenant, followed, is_csv, out, read, send, stop, tell, whose
from pipeline.core.identity.accounts import identifier
from pipeline.core.identity.identifiers import IdentifierError, keys_of
from pipeline.ingest import account_import
from topics.catalog import ACCOUNTS

app = typer.Typer(help="Accounts (B2B): import a file of them, show one.", no_args_is_help=True)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV (*.csv) or JSON lines (anything else), UTF-8, one account a line.")],
    tenant: Tenant = None,
    bootstrap: Bootstrap = None,
) -> None:
    """Check every line, then send what the file says about accounts; with an error in any line, nothing is sent."""
    settings = settings_for(bootstrap)
    name, policy = whose(settings, tenant)
    keys, now_ms = settings.tenant_keys, SystemClock().now_ms()
    found = read(file, lambda lines: account_import.read(lines, is_csv(file), keys, name, policy, now_ms))
    tell(file, found)
    send(settings, found.records, "accounts")
    out.print(f"{len(found.records)} accounts imported for {name}")


@app.command()
def show(
    account_id: Annotated[str, typer.Argument(metavar="ID", help="The account's id, as sent in groupId.")],
    tenant: Tenant = None,
    as_json: AsJson = False,
    bootstrap: Bootstrap = None,
) -> None:
    """What members' decisions know of an account: traits, contract, consent, version."""
    settings = settings_for(bootstrap)
    name = tenant or settings.tenant
    try:
        known = identifier(settings.tenant_keys, name, account_id)
    except IdentifierError as error:
        stop(f"this cannot be an account's id: {error}")
    accounts = followed(settings, (ACCOUNTS,)).accounts(name)
    keys = keys_of(name, known)
    account = next((accounts[key] for key in keys if key in accounts), None)
    if account is None:
        stop(f"nothing is known of this account of the tenant {name} (key {keys[0]})")
    if as_json:
        out.print_json(json.dumps({
            "account": account.account_id, "version": account.version, "at": _time(account.at_ms),
            "traits": account.traits,
            "consent": [{"purpose": one.purpose, "channel": one.channel, "granted": one.granted,
                         "basis": one.basis.value, "at": _time(one.at_ms), "source": one.source}
                        for one in account.consent],
        }))
        return
    table = Table(title=f"{account.account_id}, version {account.version}, {_time(account.at_ms)}", show_header=False)
    for trait, value in sorted(account.traits.items()):
        table.add_row(f"account.{trait}", json.dumps(value, ensure_ascii=False))
    for one in account.consent:
        where = f"/{one.channel}" if one.channel else ""
        table.add_row(f"consent {one.purpose}{where}", f"{'yes' if one.granted else 'no'}, {one.basis.value}, "
                                                       f"{_time(one.at_ms)}, {one.source or 'no source'}")
    out.print(table)


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds")
