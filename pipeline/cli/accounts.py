"""`nextbest accounts import|show`: doors to the accounts. What a file says is read by `bridge.account_import`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from pipeline.adapters import kafka
from pipeline.adapters.follower import Follower
from pipeline.adapters.system_clock import SystemClock
from pipeline.bridge import account_import
from pipeline.core.accounts import account_key
from pipeline.core.identity import IdentifierError
from pipeline.policy.directory import Directory
from pipeline.ports import Outbound
from pipeline.settings import Settings
from topics.catalog import ACCOUNTS, Topic

app = typer.Typer(help="Accounts (B2B): import a file of them, show one.", no_args_is_help=True)

_ANSWER_S = 15.0
_Tenant = Annotated[str | None, typer.Option(help="The tenant they belong to; default: the configured one.")]
_Bootstrap = Annotated[str | None, typer.Option(help="Kafka bootstrap servers, HOST:PORT.")]
_out = Console(soft_wrap=True, highlight=False)
_err = Console(stderr=True, soft_wrap=True, highlight=False)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV (*.csv) or JSON lines (anything else), UTF-8, one account a line.")],
    tenant: _Tenant = None,
    bootstrap: _Bootstrap = None,
) -> None:
    """Check every line, then send what the file says about accounts; with an error in any line, nothing is sent."""
    settings = Settings() if bootstrap is None else Settings(bootstrap=bootstrap)
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            found = account_import.read(lines, file.suffix.lower() == ".csv",
                                        settings.tenant_key.get_secret_value().encode(), tenant or settings.tenant,
                                        SystemClock().now_ms())
    except (OSError, UnicodeDecodeError) as error:
        _stop(f"{file} cannot be read as UTF-8 text: {error}")
    for line in (*found.warnings, *found.errors):
        _err.print(line, markup=False)
    if found.errors:
        _stop(f"{file}: nothing was imported")
    _send(settings, found.records)
    _out.print(f"{len(found.records)} accounts imported for {tenant or settings.tenant}")


def _send(settings: Settings, records: list[Outbound]) -> None:
    producer = kafka.producer(settings, "accounts")
    failed: list[str] = []
    with Progress(console=_err, transient=True) as progress:
        bar = progress.add_task("accounts", total=len(records))

        def delivered(error: object, _message: object) -> None:
            if error:
                failed.append(str(error))
            progress.advance(bar)

        for record in records:
            while True:
                try:
                    producer.produce(record.topic, key=record.key, value=record.value, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        left = producer.flush(_ANSWER_S)
    if failed or left:
        _stop(f"{len(failed) + left} of {len(records)} accounts were not taken by {settings.bootstrap} "
              f"({failed[0] if failed else 'no answer'}): import the file again, what was taken does not change by it")


@app.command()
def show(
    account_id: Annotated[str, typer.Argument(metavar="ID", help="The account's id, as sent in groupId.")],
    tenant: _Tenant = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    bootstrap: _Bootstrap = None,
) -> None:
    """What members' decisions know of an account: traits, contract, consent, version."""
    settings = Settings() if bootstrap is None else Settings(bootstrap=bootstrap)
    name = tenant or settings.tenant
    try:
        key = account_key(settings.tenant_key.get_secret_value().encode(), name, account_id)
    except IdentifierError as error:
        _stop(f"this cannot be an account's id: {error}")
    account = followed(settings, (ACCOUNTS,)).accounts(name).get(key)
    if account is None:
        _stop(f"nothing is known of this account of the tenant {name} (key {key})")
    if as_json:
        _out.print_json(json.dumps({
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
    _out.print(table)


def followed(settings: Settings, topics: tuple[Topic, ...]) -> Directory:
    """What was published on compacted topics, read to their end. Exits with 1 where the broker does not answer."""
    directory = Directory()
    follower = Follower(settings, topics, directory.apply)
    follower.start()
    caught_up = follower.caught_up.wait(_ANSWER_S)
    follower.stop()
    if not caught_up:
        _stop(f"{settings.bootstrap} did not answer within {_ANSWER_S:.0f} s: is the broker running, and were the "
              "topics made (nextbest topics apply)?")
    return directory


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds")


def _stop(said: str) -> NoReturn:
    _err.print(said, style="red", markup=False)
    raise typer.Exit(1)
