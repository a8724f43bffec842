"""Policy and catalog are named by content: the same content has one digest, and any other content another one."""

from __future__ import annotations

import json

from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.core.decide.live import arrange
from pipeline.core.hashing import catalog_digest, item_digest, policy_digest
from pipeline.core.release import compile_release
from pipeline.core.release.catalog import ItemCompiler
from pipeline.policy.definitions import PolicyDefinition
from pipeline.policy.load import release_body

from .build import BASE, made

names = st.text(max_size=4)
bodies = st.dictionaries(st.sampled_from("ab"), st.text(max_size=3), max_size=2).map(json.dumps)
catalogs = st.dictionaries(names, bodies, max_size=5)
sinces = st.dictionaries(names, st.integers(0, 3), max_size=3)


def of(catalog: dict[str, str]) -> str:
    return catalog_digest(item_digest(name, body) for name, body in catalog.items())


@given(catalogs, st.data())
def test_the_order_of_the_items_is_nothing(catalog: dict[str, str], data: st.DataObject) -> None:
    assert of(dict(data.draw(st.permutations(list(catalog.items()))))) == of(catalog)


@given(catalogs, catalogs)
def test_catalogs_that_differ_in_anything_have_other_digests(one: dict[str, str], other: dict[str, str]) -> None:
    assert (of(one) == of(other)) == (one == other)


@given(catalogs, names, bodies)
def test_an_item_that_comes_goes_or_changes_changes_the_digest(
    catalog: dict[str, str], name: str, body: str
) -> None:
    assume(catalog.get(name) != body)
    changed = catalog | {name: body}
    assert of(changed) != of(catalog)
    back = {key: catalog[key] for key in changed if key in catalog}
    assert of(back) == of(catalog), "and back again"


@given(bodies, bodies, sinces, sinces)
def test_a_policy_is_its_body_and_what_it_counts_since(
    one: str, other: str, since: dict[str, int], until: dict[str, int]
) -> None:
    assert (policy_digest(one, since) == policy_digest(other, until)) == ((one, since) == (other, until))
    assert policy_digest(one, dict(reversed(since.items()))) == policy_digest(one, since)


def test_what_is_live_is_named_by_the_bodies_it_was_compiled_from() -> None:
    compiled = made().policy
    compiler = ItemCompiler(compiled)
    body = json.dumps({"kind": "offer", "variants": {"default": {}}})
    items = [compiler.compile(name, body) for name in ("b", "a")]
    live = arrange("shop", compiled, items, 7)
    assert live.catalog_digest == of({"a": body, "b": body})
    other = json.dumps({"kind": "offer", "variants": {"default": {}}, "priority": 0})
    again = arrange("shop", compiled, [items[0], compiler.compile("a", other)], 7)
    assert again.catalog_digest != live.catalog_digest, "by content, whatever it means"


def test_a_release_is_named_as_it_was_activated() -> None:
    body = release_body(PolicyDefinition.model_validate(BASE))
    plain, counted = compile_release(body, "r"), compile_release(body, "r", {"seen#1": 5})
    assert plain.digest == policy_digest(body, {}) != counted.digest == policy_digest(body, {"seen#1": 5})
