"""Models of a release that learn: their features by type, and their sizes within bounds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from pipeline.core.model.problems import Path, Problems
from pipeline.core.models.learner import (
    CANDIDATE,
    COLUMNS_MAX,
    SHARED_COLUMNS_MAX,
    WITH_FEATURES,
    Feature,
    Learner,
)
from pipeline.core.release.book import Body

#: Bytes of a model's statistics at most: they are one value of the table, and one record of a snapshot.
STATISTICS_BYTES_MAX: Final = 1_048_576
MODELS_MAX: Final = 32

_NUMBERS: Final = ("int", "double", "bool")


def learners(
    problems: Problems, declared: Body, types: Mapping[str, str], outcomes: Collection[str]
) -> dict[str, Learner]:
    """The models by name; what is wrong is noted, and such a model left out. `outcomes`: those that the release has."""
    if len(declared) > MODELS_MAX:
        problems.add(("models",), f"there are {len(declared)} models, at most {MODELS_MAX} are kept",
                     "let placements share models")
    found: dict[str, Learner] = {}
    for name, one in sorted(declared.items()):
        before = len(problems.found)
        learner = _learner(problems, name, one, types)
        _check(problems, ("models", name), learner)
        problems.known(("models", name, "outcome"), learner.outcome, outcomes, "outcome")
        if len(problems.found) == before:
            found[name] = learner
    for name, one in sorted(declared.items()):
        _check_challenger(problems, ("models", name, "challenger", "model"), name, one, declared)
    return found


def _learner(problems: Problems, name: str, one: Body, types: Mapping[str, str]) -> Learner:
    path: Path = ("models", name)
    features = [_feature(problems, (*path, "features", index), feature, types, "")
                for index, feature in enumerate(one.get("features", ()))]
    cold = [_feature(problems, (*path, "cold_start", index), feature, types, CANDIDATE)
            for index, feature in enumerate(one.get("cold_start", ()))]
    exploration, prior, snapshot = one.get("exploration", {}), one.get("prior", {}), one.get("snapshot", {})
    rewards, challenger = one.get("rewards", {}), one.get("challenger", {})
    low, high = float(rewards.get("low", 0.0)), float(rewards.get("high", 1.0))
    plain: dict[str, Any] = {
        "epsilon": exploration.get("epsilon"), "min_share": exploration.get("min_share"),
        "width": exploration.get("width"), "prior_strength": prior.get("strength"),
        "prior_variance": prior.get("variance"), "ridge": prior.get("ridge"), "half_life_ms": one.get("half_life_ms"),
        "every_ms": snapshot.get("every_ms"), "after": snapshot.get("after"), "challenger": challenger.get("model"),
        "frozen": one.get("frozen"), "pin": one.get("pin"), "items_max": one.get("items_max"),
        "fallback_score": one.get("fallback_score"),
    }
    return Learner(
        name, one["kind"], one["outcome"], tuple(feature for feature in features if feature is not None),
        tuple(feature for feature in cold if feature is not None), (low, high),
        prior_mean=float(prior.get("mean", (low + high) / 2.0)),
        challenger_share=float(challenger.get("share", 0.0)) / 100.0,
        **{name: value for name, value in plain.items() if value is not None},
    )


def _feature(problems: Problems, path: Path, one: Body, types: Mapping[str, str], space: str) -> Feature | None:
    fact, values, default = one["fact"], tuple(one.get("values", ())), one.get("default")
    usable = [name for name, kind in types.items() if kind in (*_NUMBERS, "string") and name.startswith(space)]
    if not problems.known(path, fact, usable, "number, boolean or string attribute"):
        return None
    kind = types[fact]
    if kind == "string" and not values:
        problems.add(path, f"{fact!r} is a string", "name its `values`: each becomes a column")
        return None
    if kind != "string" and values:
        problems.add(path, f"{fact!r} is no string, and a number by itself", "leave out `values`")
        return None
    if default is not None and isinstance(default, str) != (kind == "string"):
        problems.add(path, f"the default {default!r} is no {kind}")
        return None
    if isinstance(default, str) and default not in values:
        problems.add(path, f"the default {default!r} is none of the values", "name it among `values`")
        return None
    if len(set(values)) < len(values):
        problems.add(path, "a value is named twice")
        return None
    return Feature(fact, values, default, float(one.get("divide_by", 1.0)))


def _check(problems: Problems, path: Path, one: Learner) -> None:
    low, high = one.reward_range
    if not low < high:
        problems.add((*path, "rewards"), f"{low:g} to {high:g} is no range", "name the lower end first")
    elif not low <= one.prior_mean <= high:
        problems.add((*path, "prior", "mean"), f"{one.prior_mean:g} is no reward between {low:g} and {high:g}")
    with_features = one.kind in WITH_FEATURES
    if with_features and not one.features:
        problems.add(path, f"{one.kind} learns from features, and there are none",
                     "name `features`, or take beta or gaussian")
    if not with_features and one.features:
        problems.add((*path, "features"), f"{one.kind} reads no features",
                     "take linucb, linear_thompson, logistic or hybrid; attributes of items may be its `cold_start`")
    if with_features and one.cold_start:
        problems.add((*path, "cold_start"), f"{one.kind} has no cold start of its own",
                     "take hybrid, whose shared part knows new items by their attributes")
    if one.kind == "hybrid" and not one.of_item:
        problems.add((*path, "features"), "a hybrid shares what it learns of items' attributes, and none is named",
                     "name a `candidate.` attribute, or take linucb")
    elif one.columns > COLUMNS_MAX or one.shared_columns > SHARED_COLUMNS_MAX:
        problems.add((*path, "features"), f"make {one.columns} columns, and {one.shared_columns} shared ones; at most "
                     f"{COLUMNS_MAX} and {SHARED_COLUMNS_MAX} can be", "name fewer features or values")
    elif one.bytes_max > STATISTICS_BYTES_MAX:
        problems.add(path, f"may take {one.bytes_max:,} bytes for {one.items_max} items, at most "
                     f"{STATISTICS_BYTES_MAX:,} can be", "lower items_max, or name fewer features")


def _check_challenger(problems: Problems, path: Path, name: str, one: Body, declared: Body) -> None:
    rival = one.get("challenger", {}).get("model")
    if rival is None:
        return
    if rival == name:
        problems.add(path, "a model cannot challenge itself", "name another one")
    elif problems.known(path, rival, declared, "model") and declared[rival]["outcome"] != one["outcome"]:
        problems.add(path, f"{rival} learns from {declared[rival]['outcome']}, {name} from {one['outcome']}",
                     "let both learn from one outcome")
