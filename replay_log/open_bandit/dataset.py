"""The Open Bandit Dataset as the demo uses it: fetched as data, its log, its items with their click rates, its policy.

Yuta Saito, Shunsuke Aihara, Megumi Matsutani, Yusuke Narita: "Open Bandit Dataset and Pipeline: Towards Realistic and
Reproducible Off-Policy Evaluation", NeurIPS 2021 Datasets and Benchmarks. Collected by ZOZO, Inc.; CC BY 4.0. The
sample used here (10,000 rows for each of three campaigns and two logged policies) lies inside the `obp` wheel;
its later releases have the same files, but no wheel: those would have to be built to be fetched.
"""

from __future__ import annotations

import csv
import io
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from pipeline.local.jars import cache_directory
from replay_log.errors import ReplayError
from replay_log.package_data import Package, fetch, verify
from replay_log.statistics import wilson

PACKAGE: Final = Package("obp", "0.4.1", "87dec9caf4283c25ab13036532e0a24566f1c7bdcad1653a8ded43b2f5ef8208")
CREDIT: Final = (
    "Data: Open Bandit Dataset (sample) by ZOZO, Inc., CC BY 4.0. Saito, Aihara, Matsutani, Narita: Open Bandit "
    "Dataset and Pipeline, NeurIPS 2021 Datasets and Benchmarks."
)
ROWS: Final = 10_000

#: Who chose the logged items: at random (every item as likely as any other), or Bernoulli Thompson sampling.
Logged = Literal["random", "bts"]
Campaign = Literal["all", "men", "women"]

#: As many impressions at the mean rate are added to each item's own: a click or two on few impressions prove little.
_PRIOR_IMPRESSIONS: Final = 200
_TEMPLATES: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the demo works on, as files: the log, the mapping that reads it, and the policy folder to publish."""

    log: Path
    mapping: Path
    policy: Path


def prepare(folder: Path, logged: Logged, campaign: Campaign, package: Path | None = None) -> Prepared:
    """Write log, mapping and policy into a folder. `package` None: from the cache, or fetched.

    Raises `ReplayError` where the package cannot be had or is not the pinned one.
    """
    source = fetch(PACKAGE, cache_directory()) if package is None else verify(package, PACKAGE)
    policy = folder / "policy"
    policy.mkdir(parents=True, exist_ok=True)
    log = folder / f"open-bandit-{logged}-{campaign}.csv"
    with zipfile.ZipFile(source) as archive:
        log.write_bytes(_member(archive, logged, campaign, f"{campaign}.csv"))
        # Ranked by what the other policy's log says: judging choices by the log they were made from flatters them.
        other: Logged = "bts" if logged == "random" else "random"
        rows = _csv(_member(archive, other, campaign, f"{campaign}.csv"))
        features = _csv(_member(archive, logged, campaign, "item_context.csv"))
        items = make_items(list(features), list(rows))
    text = yaml.safe_dump({"items": items}, sort_keys=False, allow_unicode=True)
    (policy / "items.yaml").write_text(f"# {CREDIT}\n{text}", encoding="utf8")
    shutil.copyfile(_TEMPLATES / "policy" / "policy.yaml", policy / "policy.yaml")
    shutil.copyfile(_TEMPLATES / "mapping.yaml", folder / "mapping.yaml")
    return Prepared(log, folder / "mapping.yaml", policy)


def make_items(features: list[dict[str, str]], rows: list[dict[str, str]]) -> dict[str, Any]:
    """The catalog: every item of `features`, with its click rate in `rows`."""
    shown: dict[str, int] = {}
    clicked: dict[str, int] = {}
    for row in rows:
        item = row["item_id"]
        shown[item] = shown.get(item, 0) + 1
        clicked[item] = clicked.get(item, 0) + int(row["click"])
    mean = sum(clicked.values()) / max(1, sum(shown.values()))
    items = {}
    for one in features:
        number = one["item_id"]
        impressions, clicks = shown.get(number, 0), clicked.get(number, 0)
        items[f"item-{number}"] = {
            "kind": "content",
            "tags": [f"category-{one['item_feature_3'][:8]}"],
            "placements": ["left", "center", "right"],
            "attributes": {
                "click_rate": round((clicks + mean * _PRIOR_IMPRESSIONS) / (impressions + _PRIOR_IMPRESSIONS), 6),
                "click_rate_high": round(wilson(clicks, impressions).high, 6),
                "feature_0": round(float(one["item_feature_0"]), 6),
            },
            "variants": {"default": {"content": {"title": f"Item {number}", "link": f"/items/{number}"}}},
        }
    return items


def _member(archive: zipfile.ZipFile, logged: Logged, campaign: Campaign, name: str) -> bytes:
    path = f"obp/dataset/obd/{logged}/{campaign}/{name}"
    try:
        return archive.read(path)
    except KeyError as error:
        raise ReplayError(f"{PACKAGE.file} holds no {path}") from error


def _csv(data: bytes) -> Iterator[dict[str, str]]:
    return csv.DictReader(io.StringIO(data.decode()))
