"""A policy folder to a checked release: shape, names, rules and golden decisions; every problem at once."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipeline.core.decide.live import Live, arrange
from pipeline.core.model.definitions import Item, Policy
from pipeline.core.model.problems import DefinitionError, Problem
from pipeline.core.model.problems import Path as DefinitionPath
from pipeline.core.models.trained import CONTENT_BYTES_MAX
from pipeline.core.release import chains, compile_release
from pipeline.core.release.catalog import ItemCompiler
from pipeline.core.release.second_opinion import disagreements
from pipeline.onnx_models.sessions import opened
from pipeline.policy import golden, journey_definitions, names, trial
from pipeline.policy.definitions import (
    AttributeDefinition,
    ItemDefinition,
    PolicyDefinition,
    SignalDefinition,
)
from pipeline.policy.folder import content_of, read
from pipeline.policy.model_definitions import TrainedDefinition
from pipeline.policy.shape import Shape, authored, shaped
from pipeline.policy.values import Definition
from pipeline.policy.yaml_source import Finding, Source
from topics.catalog import CATALOG_ITEMS, FRAME_BYTES_MAX, POLICY_RELEASES, Topic


class PolicyError(ValueError):
    """A policy that cannot be published; `findings` say where and what to do."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = sorted(findings, key=lambda one: (one.place.file, one.place.line, one.place.column))
        super().__init__("\n".join(str(finding) for finding in self.findings))


@dataclass(frozen=True, slots=True)
class Checked:
    """A folder that passed: the immutable release, its items, and how many golden decisions came out as written."""

    release: str
    body: str
    items: dict[str, str]
    policy: Policy
    compiled: tuple[Item, ...]
    golden: int
    #: What is probably a mistake and keeps nothing from being published.
    doubts: tuple[Finding, ...]

    def live(self, tenant: str) -> Live:
        """The release and items as a worker would have them."""
        return arrange(tenant, self.policy, self.compiled, 0)


def load(folder: Path) -> Checked:
    """Check everything in the folder. Raises PolicyError with all findings, FileNotFoundError for no files."""
    source = read(folder)
    shape = shaped(source)
    if shape.definition is None:
        raise PolicyError(shape.findings)
    definition = shape.definition
    contents, unread = _model_files(folder, definition)
    body = release_body(definition, contents)
    release = release_id(body)
    items = {name: item_body(item) for name, item in definition.items.items()}
    policy, compiled = _compiled(source, shape, body, release, items, unread)
    doubts = tuple(_placed(source, one) for one in names.doubtful(definition))
    checked = Checked(release, body, items, policy, compiled, len(definition.golden), doubts)
    live = checked.live("golden")
    failed = [*_too_large(body, items), *live.problems]
    # What takes too long is not tried.
    failed = failed or [*golden.check(definition.golden, live), *trial.check(replace(live, tenant="trial"))]
    if failed:
        raise PolicyError([_placed(source, problem) for problem in failed])
    return checked


def _too_large(body: str, items: dict[str, str]) -> list[Problem]:
    """What its topic would not take. Some bytes are left for what a record has besides."""
    sizes: list[tuple[DefinitionPath, str, Topic]] = [((), body, POLICY_RELEASES)]
    sizes += [(("items", name), text, CATALOG_ITEMS) for name, text in items.items()]
    return [
        Problem(path, f"has {len(text.encode()):,} bytes when published, at most {room:,} can be",
                "shorten texts, or keep them elsewhere")
        for path, text, topic in sizes if len(text.encode()) > (room := topic.value_bytes_max - FRAME_BYTES_MAX)
    ]


def _model_files(folder: Path, definition: PolicyDefinition) -> tuple[dict[str, bytes], list[Problem]]:
    """The files of models, by the model's name, and those that cannot be read. Of one that is too large no more than
    shows it."""
    contents: dict[str, bytes] = {}
    problems: list[Problem] = []
    for name, model in definition.models.items():
        if not isinstance(model, TrainedDefinition):
            continue
        try:
            content = content_of(folder / model.onnx, CONTENT_BYTES_MAX)
            wrong = "it is no file" if content is None else ""
        except OSError as error:
            content, wrong = None, str(error.strerror)
        if content is None:
            problems.append(Problem(("models", name, "onnx"), f"{model.onnx} cannot be read: {wrong}",
                                    "name a file within the policy's folder"))
        else:
            contents[name] = content
    return contents, problems


def _compiled(
    source: Source, shape: Shape, body: str, release: str, items: dict[str, str], unread: list[Problem]
) -> tuple[Policy, tuple[Item, ...]]:
    """The release and its items. Raises PolicyError with what is wrong in shape and in meaning, together."""
    problems: list[Problem] = [*unread]
    compiled: list[Item] = []
    policy: Policy | None = None
    try:
        policy = compile_release(body, release, open_session=opened)
    except DefinitionError as error:
        # Of a file that could not be read there is nothing more to say.
        said = {one.path for one in unread}
        problems += (one for one in error.problems if one.path not in said)
        policy = error.partial
    if policy is not None:
        compiler = ItemCompiler(policy)
        for name, text in items.items():
            try:
                compiled.append(compiler.compile(name, text))
            except DefinitionError as error:
                problems += error.problems
        problems += chains.too_long({item.id: item for item in compiled})
        problems += disagreements({**compiler.texts, **policy.texts}, policy.types)
    if shape.definition is not None:
        problems += names.unknown(shape.definition)
    findings = [*shape.findings, *(_placed(source, one) for one in problems if not shape.caused(one))]
    if findings or policy is None:
        raise PolicyError(findings)
    return policy, tuple(compiled)


def _placed(source: Source, one: Problem) -> Finding:
    path = source.written(authored(one.path))
    return Finding(source.place(path, one.at), f"{'.'.join(map(str, path))}: {one.message}", one.suggestion)


def canonical(value: Any) -> str:
    """JSON with one way to write everything: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def release_id(body: str) -> str:
    """The release is named by its content."""
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def dump(definition: Definition) -> dict[str, Any]:
    """What a definition says, as the body has it: nothing that was left out."""
    return definition.model_dump(mode="json", by_alias=False, exclude_none=True, exclude_defaults=True)


def release_body(definition: PolicyDefinition, contents: Mapping[str, bytes] = MappingProxyType({})) -> str:
    """The canonical body: what decides, without catalog, golden decisions and documentation.

    `contents`: by name of a model that was trained elsewhere, its file; the body has it in place of the file's name.
    """
    data = dump(definition)
    for absent in ("items", "golden"):
        data.pop(absent, None)
    data["format"] = 1
    data["attributes"] = {
        space: {name: _attribute(one) for name, one in names.items()}
        for space in ("profile", "account", "features", "journey", "context", "candidate", "event")
        for names in [getattr(definition.attributes, space)] if names or space != "event"
    }
    data["signals"] = {name: _signal(one) for name, one in definition.signals.items()}
    if definition.journeys:
        data["journeys"] = {name: journey_definitions.body(one, dump) for name, one in definition.journeys.items()}
    if definition.features:
        data["features"] = {name: one.body() for name, one in definition.features.items()}
    for name, model in definition.models.items():
        if isinstance(model, TrainedDefinition):
            data["models"][name]["onnx"] = base64.b64encode(contents.get(name, b"")).decode()
    for name, cap in definition.caps.items():
        data["caps"][name]["window"] = cap.window.body()
    return canonical(data)


def item_body(item: ItemDefinition) -> str:
    """An item's canonical body. Canonical JSON sorts names, so the order of the variants is said apart."""
    return canonical({**dump(item), "order": list(item.variants)})


def _attribute(one: AttributeDefinition) -> dict[str, Any]:
    said = {"default": one.default, "sensitivity": one.sensitivity, "fresh_for_ms": one.fresh_for_ms}
    return {"type": one.type, **{name: value for name, value in said.items() if value is not None}}


def _signal(one: SignalDefinition) -> dict[str, Any]:
    steps = one.sequence or [matcher for matcher in (one.count, one.last) if matcher is not None]
    kind = "sequence" if one.sequence else "count" if one.count is not None else "last"
    result: dict[str, Any] = {"kind": kind, "steps": [dump(step) for step in steps], "up_to": one.up_to}
    if one.without is not None:
        result["without"] = dump(one.without)
    if one.within_ms is not None:
        result["within_ms"] = one.within_ms
    if one.since_ms is not None:
        result["since_ms"] = one.since_ms
    return result
