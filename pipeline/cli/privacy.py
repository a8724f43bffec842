"""`nextbest privacy erase|export|status|verify`: forget somebody, tell what is known, and look whether it is gone."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.adapters.privacy_archive import PrivacyArchive, open_archive, submit
from pipeline.adapters.privacy_search import Kind, Place
from pipeline.adapters.privacy_tables import look_into, tables_of
from pipeline.adapters.system_clock import SystemClock
from pipeline.bridge.privacy_bodies import told
from pipeline.cli.cluster import AsJson, Bootstrap, answering, err, fail, out, reachable, settings_for
from pipeline.core.identity import identifiers
from pipeline.core.identity.privacy_jobs import DONE, Job, job_id_of
from pipeline.core.keys import hash_of, tenant_of
from pipeline.core.model.records import ErasureAction, ErasureRequest
from pipeline.ingest.personal_texts import found_in
from pipeline.settings import Settings
from topics.catalog import DAY_MS

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Forget somebody, tell what is known, look whether it is gone."
)

#: A job that nobody takes up within this long is left to itself: `status` tells how far it is.
WAIT_S = 30.0
_LOOK_S = 0.5

Subject = Annotated[
    str, typer.Argument(metavar="SUBJECT", help="user_id:ann, email:ann@example.org …; ann: a user_id; or tenant/hash.")
]
Subjects = Annotated[list[str], typer.Argument(metavar="SUBJECT…", help="As for erase; all of them at once.")]
Tenant = Annotated[str | None, typer.Option("--tenant", help="The tenant; default: NEXTBEST_TENANT.")]
By = Annotated[str, typer.Option("--by", help="Who asked: a ticket's number. Kept as evidence.")]
Key = Annotated[str | None, typer.Option("--idempotency-key", help="Asked again with it, it is the same job.")]


@app.command()
def erase(
    subject: Subject, tenant: Tenant = None, by: By = "", key: Key = None, bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Forget somebody, with all identifiers; wait for the receipts. Status 1 if they do not come in time."""
    settings = settings_for(bootstrap)
    _, job = _run(settings, ErasureAction.ERASE, _keys_of(settings, subject, tenant), by, key)
    _show(told(job), as_json)


@app.command()
def export(
    subject: Subject,
    file: Annotated[Path | None, typer.Option("--out", "-o", help="Write it there, readable by you alone.")] = None,
    tenant: Tenant = None,
    by: By = "",
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Everything known about somebody, opened, as one JSON document."""
    settings = settings_for(bootstrap)
    archive, job = _run(settings, ErasureAction.EXPORT, _keys_of(settings, subject, tenant), by, None)
    with answering(settings):
        text = json.dumps(archive.document(job), indent=2, ensure_ascii=False)
    if file is None:
        typer.echo(text)
        return
    file.touch(mode=0o600)
    file.write_text(text + "\n", encoding="utf-8")
    _show(told(job) | {"file": str(file)}, as_json)


@app.command()
def status(
    job_id: Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")], bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """How far a job is, and its receipts."""
    settings = settings_for(bootstrap)
    with answering(settings):
        job = open_archive(settings).job(job_id)
    if job is None:
        raise fail(f"Nobody asked for a job {job_id}, or its records are gone by now.")
    _show(told(job), as_json)


@app.command()
def verify(
    subjects: Subjects,
    tenant: Tenant = None,
    until_retention: Annotated[
        bool, typer.Option("--until-retention", help="Let pass what the broker removes by itself within its retention.")
    ] = False,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Look through topics and this machine's tables for the erased. Status 1, with the places, if anything is left."""
    settings = settings_for(bootstrap)
    wanted = [key for subject in subjects for key in _keys_of(settings, subject, tenant)]
    reachable(settings)
    with answering(settings):
        names, verifier = open_archive(settings).verifier(wanted)
    tables = tables_of(settings)
    for path in tables:
        look_into(path, names, verifier)
    places = verifier.done()
    now_ms = SystemClock().now_ms()
    left = [place for place in places if _counts(place, until_retention, now_ms)]
    if as_json:
        typer.echo(json.dumps({
            "identifiers": sorted(names), "gone": not left, "tables": [str(path) for path in tables],
            "places": [_place(place) for place in places],
        }, indent=2))
    else:
        _tell(places, left, len(names), len(tables))
    if left:
        raise typer.Exit(1)


def _counts(place: Place, until_retention: bool, now_ms: int) -> bool:
    """Whether a place makes the verification fail."""
    if place.kind is Kind.EXPIRES and until_retention:
        # The broker removes whole segments, some time after the last record's time has come.
        return place.until_ms is not None and place.until_ms + 2 * DAY_MS < now_ms
    return place.kind is not Kind.KEPT


def _keys_of(settings: Settings, subject: str, tenant: str | None) -> list[str]:
    """The subject key that is meant, then those under earlier tenant keys."""
    if "/" in subject and ":" not in subject:
        return [subject]
    type_, colon, value = subject.partition(":")
    if not colon:
        type_, value = identifiers.USER_ID, subject
    try:
        name = tenant or settings.tenant
        return identifiers.keys_of(name, identifiers.identifier(settings.tenant_keys, name, type_, value))
    except identifiers.IdentifierError as error:
        raise fail(f"SUBJECT: {error}") from error


def _run(
    settings: Settings, action: ErasureAction, keys: list[str], by: str, key: str | None
) -> tuple[PrivacyArchive, Job]:
    """Ask for a job and wait for its end; ends the command where it does not come."""
    if inside := found_in(by):
        raise fail(f"--by holds {inside}: it is kept as evidence; give a ticket's number")
    reachable(settings)
    clock = SystemClock()
    subject, earlier = keys[0], [hash_of(name) for name in keys[1:]]
    job_id = job_id_of(tenant_of(subject), action, keys[-1], key or os.urandom(16).hex())
    with answering(settings):
        submit(settings, ErasureRequest(job_id, subject, action, clock.now_ms(), by, earlier=earlier))
        archive, end_s = open_archive(settings), clock.monotonic_s() + WAIT_S
        while True:
            job = archive.job(job_id)
            if job is not None and job.status == DONE:
                return archive, job
            if clock.monotonic_s() > end_s:
                raise fail(
                    f"Job {job_id} is {job.status if job else 'not there'} after {WAIT_S:.0f} s: does a worker run? "
                    f"It goes on by itself; see `nextbest privacy status {job_id}`."
                )
            time.sleep(_LOOK_S)


def _show(job: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(job, indent=2))
        return
    out.print(f"{job['action']} {job['job_id']}: {job['status']}", markup=False)
    for receipt in job["receipts"]:
        known = "" if receipt["known"] else " (nothing was known)"
        out.print(f"  {receipt['identifier']}  {_when(receipt['at_ms'])}{known}", markup=False, highlight=False)
    unreadable = job["receipts"][0]["unreadable"] if job["receipts"] else []
    if unreadable:
        out.print(f"Unreadable from now on: {', '.join(unreadable)}.", markup=False)
    if "file" in job:
        out.print(f"Written to {job['file']}.", markup=False)


def _tell(places: list[Place], left: list[Place], identifiers: int, tables: int) -> None:
    alike: dict[tuple[Kind, str, str], list[Place]] = {}
    for place in places:
        alike.setdefault((place.kind, place.topic, place.what), []).append(place)
    for (kind, topic, what), ones in alike.items():
        ends = [one.until_ms for one in ones if one.until_ms is not None]
        until = f" until {_when(max(ends))}" if ends else ""
        # A place on this machine is a file.
        where = topic if os.sep in topic else f"{topic}[{ones[0].partition}] at {ones[0].offset}"
        more = f" and {len(ones) - 1} more" if len(ones) > 1 else ""
        out.print(f"{kind}{until}: {where}{more}: {what}", markup=False, highlight=False, soft_wrap=True)
    looked = f"{identifiers} identifier(s), every topic, {tables} table(s) of this machine"
    if left:
        err.print(f"{len(left)} place(s) still tell something ({looked}).", style="red", highlight=False)
    else:
        out.print(f"Nothing is left ({looked}).", highlight=False)


def _place(place: Place) -> dict[str, Any]:
    return {
        "kind": str(place.kind), "topic": place.topic, "partition": place.partition, "offset": place.offset,
        "what": place.what, "until_ms": place.until_ms,
    }


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%MZ")
