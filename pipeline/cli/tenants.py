"""`nextbest tenants list`: who shares this installation, what each may ask for, and what it has asked for."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from typing import Annotated, Any

import typer
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from pipeline import access
from pipeline.access import OTHERS, Quota
from pipeline.cli.cluster import AsJson, Bootstrap, settings_for
from pipeline.cli.importing import followed
from topics.catalog import ACCOUNTS, CATALOG_ITEMS, POLICY_RELEASES

app = typer.Typer(help="Tenants: their policies, quotas and usage.", no_args_is_help=True)

_METRIC = "nextbest_bridge_tenant_requests_total"
_out = Console(soft_wrap=True, highlight=False)


@app.callback()
def tenants() -> None:
    """Tenants: their policies, quotas and usage."""


@app.command("list")
def list_(
    as_json: AsJson = False,
    bridge: Annotated[str | None, typer.Option(help="Address of a bridge, for its usage; default: of the settings.")]
    = None,
    bootstrap: Bootstrap = None,
) -> None:
    """Every tenant of which anything was published or a quota is set, with the usage that one bridge has counted."""
    settings = settings_for(bootstrap)
    quotas = access.quotas(settings.tenant_quotas)
    directory = followed(settings, (POLICY_RELEASES, CATALOG_ITEMS, ACCOUNTS))
    usage = _usage(f"{bridge or f'http://{settings.http_host}:{settings.http_port}'}/metrics")
    found = [
        {"tenant": name, "release": directory.releases(name)[0], "items": len(directory.items(name)),
         "accounts": len(directory.accounts(name)),
         "quota": _said(quotas.get(name) or quotas.get(OTHERS) or Quota()),
         "usage": None if usage is None else usage.get(name, {})}
        for name in sorted({*directory.tenants(), *quotas} - {OTHERS})
    ]
    if as_json:
        _out.print_json(json.dumps(found))
    else:
        _out.print(_table(found, usage is not None))


def _said(quota: Quota) -> dict[str, int]:
    limits = {"decisions": quota.decisions, "events": quota.events, "in_flight": quota.in_flight}
    return {name: limit for name, limit in limits.items() if limit is not None}


def _table(found: list[dict[str, Any]], counted: bool) -> Table:
    table = Table(caption=None if counted else "No bridge answered: --bridge names its address.")
    for column in ("tenant", "live release", "items", "accounts", "quota", "usage"):
        table.add_column(column)
    for one in found:
        quota = " ".join(f"{name}:{limit}" for name, limit in one["quota"].items()) or "none"
        usage = ", ".join(f"{name} {count:,}" for name, count in sorted((one["usage"] or {}).items())) or "–"
        table.add_row(one["tenant"], one["release"] or "none", str(one["items"]), str(one["accounts"]), quota, usage)
    return table


def _usage(url: str) -> dict[str, dict[str, int]] | None:
    """By tenant, what became of decisions and events at a bridge since its start; None where it does not answer."""
    try:
        with urllib.request.urlopen(url, timeout=2.0) as answer:  # noqa: S310 - the operator's own address
            text = answer.read().decode()
    except (OSError, ValueError):
        return None
    found: dict[str, Counter[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == _METRIC:
                name = f"{sample.labels['kind']}s {sample.labels['outcome'].replace('_', ' ')}"
                found.setdefault(sample.labels["tenant"], Counter())[name] += int(sample.value)
    return {tenant: dict(counts) for tenant, counts in found.items()}
