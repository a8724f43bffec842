"""Models trained by other libraries, in a policy: decisions by their scores, and what is wrong with a file."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from numpy.typing import NDArray

from pipeline.core.decide.decision import ENGINE, DecisionResult, decide
from pipeline.core.decide.live import Live
from pipeline.core.decide.replay import decided_again, differences
from pipeline.core.model.definitions import Policy
from pipeline.core.model.problems import DefinitionError
from pipeline.core.model.records import AuditRecord
from pipeline.core.models.trained import CONTENT_BYTES_MAX, TRAINED_MAX, Session, Tensor
from pipeline.core.release import compile_release
from pipeline.core.release.history import History
from pipeline.core.sections.section import changed
from pipeline.core.sections.traits import Trait
from pipeline.core.subject import Person
from pipeline.onnx_models import sessions
from pipeline.policy.directory import Directory
from pipeline.policy.load import Checked, PolicyError, load
from pipeline.policy.publish import prepare
from tests.core.build import agreed, asked
from tests.support.trained_models import (
    Row,
    file_of,
    pipeline_of_scikit_learn,
    some_rows,
    tensor_of,
    trees_of_lightgbm,
)
from topics.catalog import BY_NAME

from .test_directory import follow

NOW_MS = 1_790_000_000_000
VALUES = {"a": 0.5, "b": 4.0, "c": 9.0}
POLICY = """\
attributes:
  profile: {{plan: string, spent: double, orders: int, member: bool, risk: {{type: double, sensitivity: risk}}}}
  candidate: {{value: {{type: double, default: 1.0}}}}
consent: {{purposes: {{personalization: ok}}, tracking: personalization}}
channels: {{web: {{purposes: personalization}}}}
models:
  buys: {{{model}}}
rankings: {{by_model: {{model: buys{ranking}}}}}
placements:
  hero: {{channels: web, ranking: by_model, fallback: {{item: welcome}}}}
  tiles: {{channels: web, max_variants: 3, ranking: by_model, fallback: {{item: welcome}}}}
items:
  a: {{kind: offer, attributes: {{value: 0.5}}, variants: {{default: {{}}}}}}
  b: {{kind: offer, attributes: {{value: 4.0}}, variants: {{default: {{}}}}}}
  c: {{kind: offer, attributes: {{value: 9.0}}, variants: {{default: {{}}}}}}
"""
BY_COLUMN = ("onnx: models/buys.onnx, output: probabilities, inputs: {spent: profile.spent, orders: profile.orders, "
             "value: candidate.value, plan: profile.plan}")
BY_TENSOR = ("onnx: models/buys.onnx, output: probabilities, inputs: {features: [profile.spent, profile.orders, "
             "candidate.value, {fact: profile.plan, values: [free, plus]}]}")


@dataclass(frozen=True)
class Slow:
    """A session that says it takes so long."""

    real: Session
    us: float

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return self.real.inputs

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        return self.real.outputs

    def run(self, output: str, columns: Mapping[str, NDArray[Any]]) -> NDArray[Any] | None:
        return self.real.run(output, columns)

    def row_us(self, output: str, columns: Mapping[str, NDArray[Any]]) -> float:
        return self.us


def folder(at: Path, content: bytes | None, model: str = BY_COLUMN, ranking: str = "") -> Path:
    (at / "models").mkdir(exist_ok=True)
    if content is not None:
        (at / "models" / "buys.onnx").write_bytes(content)
    (at / "policy.yaml").write_text(POLICY.format(model=model, ranking=ranking), "utf-8")
    return at


def found(at: Path, content: bytes | None, model: str = BY_COLUMN) -> str:
    """The one finding."""
    with pytest.raises(PolicyError) as caught:
        load(folder(at, content, model))
    [one] = caught.value.findings
    assert one.place.file.endswith("policy.yaml") and one.place.line == 7
    return str(one).partition("models.")[2]


def somebody(row: Row, **more: Any) -> Person:
    traits = {"spent": row[0], "orders": row[1], "plan": row[2], **more}
    return changed(agreed(), traits={name: Trait(value, 1) for name, value in traits.items() if value is not None})


def scores(result: DecisionResult) -> dict[str, float]:
    return {one.item_id: one.terms["model"] for one in result.candidates if "model" in one.terms}


@pytest.fixture
def regression(tmp_path: Path) -> Checked:
    return load(folder(tmp_path, pipeline_of_scikit_learn().content))


@pytest.mark.parametrize(("trained", "model"), [(pipeline_of_scikit_learn, BY_COLUMN), (trees_of_lightgbm, BY_TENSOR)])
def test_a_candidates_score_is_what_its_library_predicts(tmp_path: Path, trained: Any, model: str) -> None:
    file = trained()
    live = load(folder(tmp_path, file.content, model)).live("shop")
    for row in some_rows(60, seed=2):
        result = decide(asked(placements="tiles", max_variants=3), somebody(row), live, NOW_MS)
        predicted = file.predicted([(*row[:3], value) for value in VALUES.values()])
        wanted = dict(zip(VALUES, predicted, strict=True))
        assert scores(result) == pytest.approx(wanted, abs=1e-5)
        given = scores(result)
        assert [one.item_id for one in result.decisions] == sorted(VALUES, key=lambda name: (-given[name], name))


def test_the_score_multiplies_the_formula(tmp_path: Path) -> None:
    file = pipeline_of_scikit_learn()
    live = load(folder(tmp_path, file.content, ranking=", formula: 100.0 * candidate.value")).live("shop")
    row = some_rows(1)[0]
    chosen = decide(asked(), somebody(row), live, NOW_MS).candidates
    predicted = file.predicted([(*row[:3], value) for value in VALUES.values()])
    assert {one.item_id: one.score for one in chosen} == pytest.approx(
        {name: 100.0 * value * p for (name, value), p in zip(VALUES.items(), predicted, strict=True)}, rel=1e-4)


def test_who_has_an_unknown_fact_is_shown_the_fallback_with_the_reason(regression: Checked) -> None:
    result = decide(asked(), somebody((1.0, 2, "free", 0.0), spent=None), regression.live("shop"), NOW_MS)
    assert result.reason == "unknown:profile.spent" and result.fallback


def test_a_default_stands_in_for_an_unknown_fact(tmp_path: Path) -> None:
    model = BY_COLUMN.replace("spent: profile.spent", "spent: {fact: profile.spent, default: 120}")
    live = load(folder(tmp_path, pipeline_of_scikit_learn().content, model)).live("shop")
    without = decide(asked(), somebody((0.0, 2, "free", 0.0), spent=None), live, NOW_MS)
    assert scores(without) == scores(decide(asked(), somebody((120.0, 2, "free", 0.0)), live, NOW_MS))


def test_a_number_too_large_for_the_input_is_unknown(regression: Checked) -> None:
    result = decide(asked(), somebody((1e300, 2, "free", 0.0)), regression.live("shop"), NOW_MS)
    assert result.reason == "unknown:profile.spent"


def test_what_is_published_is_live_with_its_model_and_decides_the_same(regression: Checked) -> None:
    directory = Directory()
    follow(directory, prepare(regression, "shop", {}, 1_000, "tester").records)
    live = directory.live("shop")
    assert live is not None and directory.problems("shop") == {}
    assert live.policy.trained["buys"].digest == regression.policy.trained["buys"].digest
    row = some_rows(1)[0]
    assert scores(decide(asked(), somebody(row), live, NOW_MS)) == scores(
        decide(asked(), somebody(row), regression.live("shop"), NOW_MS)) != {}


def test_the_release_changes_with_the_file_and_not_with_its_name(tmp_path: Path) -> None:
    content = pipeline_of_scikit_learn().content
    one = load(folder(tmp_path, content))
    (tmp_path / "models" / "other.onnx").write_bytes(content)
    renamed = load(folder(tmp_path, content, BY_COLUMN.replace("buys.onnx", "other.onnx")))
    assert one.release == renamed.release
    other = load(folder(tmp_path, content + b"\x10\x07"))
    assert other.release != one.release


def test_a_release_whose_model_cannot_be_run_here_leaves_the_one_before_live(
    tmp_path: Path, regression: Checked, monkeypatch: pytest.MonkeyPatch,
) -> None:
    directory = Directory()
    follow(directory, prepare(regression, "shop", {}, 1_000, "tester").records)
    model = "onnx: models/buys.onnx, output: probabilities, inputs: {features: [profile.spent, profile.orders, " \
            "candidate.value, {fact: profile.plan, values: [free, pro]}]}"
    newer = load(folder(tmp_path, trees_of_lightgbm(3).content, model))
    without_library(monkeypatch)
    follow(directory, prepare(newer, "shop", directory.items("shop"), 2_000, "tester").records, 10)
    live = directory.live("shop")
    assert live is not None and live.release == regression.release
    assert "onnxruntime is not installed" in directory.problems("shop")[f"release {newer.release}"]


def test_while_a_file_is_being_opened_the_release_before_stays_live(
    tmp_path: Path, regression: Checked, monkeypatch: pytest.MonkeyPatch,
) -> None:
    directory, seen = Directory(), list[str]()
    follow(directory, prepare(regression, "shop", {}, 1_000, "tester").records)
    newer = load(folder(tmp_path, trees_of_lightgbm().content, BY_TENSOR))

    def looking(content: bytes) -> Session:
        live = directory.live("shop")
        seen.append("" if live is None else live.release)
        return sessions.opened(content)

    monkeypatch.setattr("pipeline.policy.directory.opened", looking)
    for offset, record in enumerate(prepare(newer, "shop", directory.items("shop"), 2_000, "tester").records, 10):
        assert directory.live("shop") is not None
        follow(directory, (record,), offset)
    live = directory.live("shop")
    assert live is not None and live.release == newer.release
    assert seen == [regression.release]


def test_an_audit_is_decided_again_by_the_same_model(tmp_path: Path, regression: Checked) -> None:
    trees = load(folder(tmp_path, trees_of_lightgbm().content, BY_TENSOR))
    directory, history = Directory(), History(sessions.opened)
    audits = []
    for number, one in enumerate((regression, trees)):
        records = prepare(one, "shop", directory.items("shop"), 1_000 + number, "tester").records
        follow(directory, records, number * 10)
        for offset, record in enumerate(records, number * 10):
            take(history, record.topic, record.key.decode(), record.value, offset)
        live = directory.live("shop")
        assert live is not None
        audits.append(audit_of(live, somebody(some_rows(1)[0])))
    for audit in audits:
        again = decided_again(audit, history.live(audit))
        assert differences(audit, again) == [] and scores(again)
    assert audits[0].candidates != audits[1].candidates, "the two models do not say the same"


def take(history: History, topic: str, key: str, value: bytes | None, offset: int) -> None:
    from pipeline.codecs import avro

    decoded = None if value is None else avro.decode(BY_NAME[topic], value)
    if topic == "policy.releases":
        history.take_release(key, decoded)
    else:
        history.take_item(key, decoded)


def audit_of(live: Live, profile: Person) -> AuditRecord:
    request = asked()
    result = decide(request, profile, live, NOW_MS)
    return AuditRecord(
        decision_id=result.decision_id, engine=ENGINE, request=request, profile_id=request.subject, at_ms=NOW_MS,
        release=live.release, policy_digest=live.policy.digest, catalog_version=live.catalog_version,
        catalog_digest=live.catalog_digest, profile_before=profile, candidates=result.candidates,
        consent=result.consent, decisions=result.decisions, fallback=result.fallback, reason=result.reason,
        account=result.account, models=result.models)


def without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra `onnx` was not installed."""
    sessions.opened.cache_clear()
    real = importlib.import_module

    def absent(name: str, package: str | None = None) -> ModuleType:
        if name.startswith("onnxruntime"):
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", absent)


def test_without_the_library_the_finding_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_library(monkeypatch)
    said = found(tmp_path, pipeline_of_scikit_learn().content)
    assert "onnxruntime is not installed" in said and "pip install 'nextbest[onnx]'" in said


WRONG_INPUTS: Mapping[str, tuple[str, str]] = {
    "no such input": ("spent: profile.spent", "spend: profile.spent"),
    "no such fact": ("profile.spent", "profile.spend"),
    "a string where a number is wanted": ("spent: profile.spent", "spent: profile.plan"),
    "a number where a string is wanted": ("plan: profile.plan", "plan: profile.orders"),
    "two columns where one is wanted": ("spent: profile.spent", "spent: [profile.spent, profile.orders]"),
    "a default of another type": ("spent: profile.spent", "spent: {fact: profile.spent, default: none}"),
    "values of a number": ("spent: profile.spent", "spent: {fact: profile.spent, values: [a, b]}"),
    "a value named twice": ("spent: profile.spent", "spent: {fact: profile.plan, values: [a, a]}"),
    "sensitive": ("profile.spent", "profile.risk"),
    "no such output": ("output: probabilities", "output: probability"),
    "no such column": ("output: probabilities", "output: probabilities, column: 2"),
    "an input is missing": (", plan: profile.plan", ""),
    "outside of the folder": ("models/buys.onnx", "../buys.onnx"),
    "no such file": ("models/buys.onnx", "models/sells.onnx"),
}
SAID = {
    "no such input": "buys.inputs",
    "no such fact": "buys.inputs.spent: there is no number, boolean or string attribute 'profile.spend'",
    "a string where a number is wanted": "'profile.plan' is a string, the file wants float — name its `values`",
    "a number where a string is wanted": "'profile.orders' is a int, the file wants string",
    "two columns where one is wanted": "buys.inputs.spent: the file wants 1 columns here, 2 are named",
    "a default of another type": "the default 'none' is no double",
    "values of a number": "is no string, and a number by itself",
    "a value named twice": "a value is named twice",
    "sensitive": "'profile.risk' is sensitive (risk)",
    "no such output": "there is no output of the file 'probability' — did you mean",
    "no such column": "has the shape [1, 2] for 1 rows, which is no number for each row with a column 2",
    "an input is missing": "the file has an input 'plan' that no fact is named for",
    "outside of the folder": "name a file within the policy's folder",
    "no such file": "models/sells.onnx cannot be read: No such file or directory",
}


@pytest.mark.parametrize("case", WRONG_INPUTS)
def test_what_does_not_fit_the_file_is_a_finding_at_its_place(tmp_path: Path, case: str) -> None:
    model = BY_COLUMN.replace(*WRONG_INPUTS[case])
    with pytest.raises(PolicyError) as caught:
        load(folder(tmp_path, pipeline_of_scikit_learn().content, model))
    assert any(SAID[case] in str(one) for one in caught.value.findings), caught.value.findings
    assert all(one.place.line == 7 for one in caught.value.findings)
    assert len(caught.value.findings) == (2 if case == "no such input" else 1)


def test_a_file_of_the_largest_size_fits_the_record_and_a_larger_one_is_a_finding(tmp_path: Path) -> None:
    content = pipeline_of_scikit_learn().content
    # A documentation string, which changes nothing but the size.
    room = CONTENT_BYTES_MAX - len(content) - 4
    largest = content + b"\x32" + bytes((room & 0x7F | 0x80, room >> 7 & 0x7F | 0x80, room >> 14)) + b"x" * room
    assert len(largest) == CONTENT_BYTES_MAX
    checked = load(folder(tmp_path, largest))
    assert len(checked.body.encode()) < BY_NAME["policy.releases"].value_bytes_max
    assert "at most 700,000 can be" in found(tmp_path, largest + b"\x10\x07")


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 64, b"PK\x03\x04" + b"\x00" * 99, b"{}"])
def test_what_is_no_onnx_file_is_a_finding(tmp_path: Path, content: bytes) -> None:
    said = found(tmp_path, content)
    assert "is no ONNX file" in said or "the file is empty" in said


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_half_a_file_is_a_finding(tmp_path: Path, share: float) -> None:
    content = trees_of_lightgbm().content
    assert found(tmp_path, content[: int(len(content) * share)], BY_TENSOR)


def test_an_output_of_maps_is_a_finding_that_says_how_to_convert(tmp_path: Path) -> None:
    model = BY_COLUMN.replace("probabilities", "output_probability")
    assert "convert it with zipmap=False" in found(tmp_path, pipeline_of_scikit_learn(zipmap=True).content, model)


def test_a_batch_of_one_size_is_a_finding(tmp_path: Path) -> None:
    from onnx import helper

    content = file_of([helper.make_node("Identity", ["spent"], ["out"])], [tensor_of("spent", "FLOAT", [1, 1])],
                      [tensor_of("out", "FLOAT", [1, 1])])
    said = found(tmp_path, content, "onnx: models/buys.onnx, output: out, inputs: {spent: profile.spent}")
    assert "takes 1 rows and no other number" in said


@pytest.mark.parametrize(("kind", "fact", "fine"), [
    ("INT64", "profile.orders", True), ("INT64", "profile.member", True), ("INT64", "profile.spent", False),
    ("BOOL", "profile.member", True), ("BOOL", "profile.orders", False), ("DOUBLE", "profile.spent", True),
    ("FLOAT", "profile.member", True), ("FLOAT16", "profile.spent", False)])
@pytest.mark.parametrize("shape", [[None], [None, 1]])
def test_a_fact_fills_a_tensor_that_holds_it(
    tmp_path: Path, kind: str, fact: str, fine: bool, shape: list[int | None],
) -> None:
    from onnx import TensorProto, helper

    content = file_of([helper.make_node("Cast", ["x"], ["out"], to=TensorProto.FLOAT)], [tensor_of("x", kind, shape)],
                      [tensor_of("out", "FLOAT", shape)])
    model = f"onnx: models/buys.onnx, output: out, inputs: {{x: {fact}}}"
    if not fine:
        assert "the file wants" in found(tmp_path, content, model)
        return
    live = load(folder(tmp_path, content, model)).live("shop")
    result = decide(asked(), somebody((7.5, 3, "free", 0.0), member=True), live, NOW_MS)
    wanted = {"profile.orders": 3.0, "profile.member": 1.0, "profile.spent": 7.5}[fact]
    assert set(scores(result).values()) == {wanted}


def test_more_models_than_are_kept_are_a_problem(regression: Checked) -> None:
    body = json.loads(regression.body)
    body["models"] |= {f"m{number}": body["models"]["buys"] for number in range(TRAINED_MAX)}
    with pytest.raises(DefinitionError, match="33 models were trained elsewhere, at most 32 are kept") as caught:
        compile_release(json.dumps(body), "r", open_session=sessions.opened)
    assert len(caught.value.problems) == 1


def test_a_model_that_takes_too_long_is_a_finding(regression: Checked) -> None:
    trained = regression.policy.trained["buys"]
    limit_us = trained.operations

    def slow(content: bytes) -> Session:
        return Slow(sessions.opened(content), limit_us * 1.01)

    with pytest.raises(DefinitionError, match=r"scoring one candidate takes .* microseconds here, at most"):
        compile_release(regression.body, "r", open_session=slow)
    just = compile_release(regression.body, "r", open_session=lambda one: Slow(sessions.opened(one), limit_us * 0.99))
    assert just.trained["buys"].row_us == limit_us * 0.99


def test_scoring_an_item_counts_among_what_a_decision_may_cost(tmp_path: Path) -> None:
    content = pipeline_of_scikit_learn().content
    live = load(folder(tmp_path, content)).live("shop")
    [weight] = [one for one in live.slots["hero", "web"].weights if one.item_id == "a"]
    assert weight.own == live.policy.trained["buys"].operations > 20.0


def test_a_policy_compiled_without_sessions_can_be_checked_and_cannot_score(regression: Checked) -> None:
    policy: Policy = compile_release(regression.body, regression.release)
    with pytest.raises(TypeError, match="has no session"):
        policy.trained["buys"].scores({"profile.spent": 1.0}, [{}])


def test_content_that_is_no_base64_is_a_problem_of_the_release(regression: Checked) -> None:
    body = regression.body.replace('"onnx":"', '"onnx":"?')
    with pytest.raises(DefinitionError, match="is no base64 text"):
        compile_release(body, "r", open_session=sessions.opened)
