"""A policy folder as people write, mount and link it: each file once, values as written, mistakes with their places."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.policy.definitions import PolicyDefinition
from pipeline.policy.load import Checked, PolicyError, load
from pipeline.policy.publish import prepare
from pipeline.policy.yaml_text import DEPTH_MAX, EXPANDED_MAX, FILE_BYTES_MAX, Unreadable, composed, decoded

from .test_errors import GOOD

CHANNEL = "{purposes: personalization}}"
ITEM = "items: {a: {kind: offer, eligibility: segment.adults, variants: {default: {}}}}\n"


def _loaded(folder: Path, text: str | bytes) -> Checked:
    content = text.encode() if isinstance(text, str) else text
    (folder / "policy.yaml").write_bytes(content)
    return load(folder)


def _said(folder: Path, text: str | bytes) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        _loaded(folder, text)
    return [str(one).replace(f"{folder}/", "") for one in caught.value.findings]


def _with_content(written: str) -> str:
    return GOOD.replace("variants: {default: {}}", f"variants: {{default: {{content: {{t: {written}}}}}}}")


def _content(checked: Checked) -> Any:
    [item] = checked.compiled
    return item.variants[0].content["t"]


@pytest.mark.parametrize("written", ["NO", "yes", "on", "12:30", "2026-01-31", "1_000", "0o", "=", "1.2.3", "0x"])
def test_what_looks_like_something_else_elsewhere_is_the_text(tmp_path: Path, written: str) -> None:
    assert _content(_loaded(tmp_path, _with_content(written))) == written


@pytest.mark.parametrize(("written", "value"), [
    ("true", True), ("12", 12), ("1.5", 1.5), ("~", None), ("'01234'", "01234"), ('"1.10"', "1.10")])
def test_a_plain_value_is_what_it_says(tmp_path: Path, written: str, value: Any) -> None:
    assert _content(_loaded(tmp_path, _with_content(written))) == value


@pytest.mark.parametrize("written", [
    "01234", "0301234567", "1.10", "+1", "1e3", "0x1F", "0o17", ".nan", "-.inf", "1e999", "99999999999999999999"])
def test_a_number_that_would_be_shown_otherwise_is_to_be_quoted(tmp_path: Path, written: str) -> None:
    [said] = _said(tmp_path, _with_content(written))
    assert said.startswith("policy.yaml:14:") and f'quote it: "{written}"' in said


@pytest.mark.parametrize(("old", "new", "said"), [
    ("limit: 1,", "limit: 010,", "without leading zeros"),
    ("kind: offer,", "kind: offer, priority: 1:30,", "items.a.priority"),
    ("kind: offer,", "kind: offer, priority: 9223372036854775808,", "does not fit in 64 bits"),
    ("window: {calendar: day}", "window: 0d", "'0d' is no window"),
    ("window: {calendar: day}", "window: {calendar: day, rolling_ms: 5}", "has no 'rolling_ms'"),
    ("kind: offer,", "kind: offer, valid_from: 2026-02-01T00:00:00Z, valid_until: 2026-01-01T00:00:00Z,",
     "`valid_until` is not after `valid_from`"),
    (CHANNEL, CHANNEL[:-2] + ", quiet_hours: {from: 21, to: 8}}}", 'write it as "21:30"'),
    (CHANNEL, CHANNEL[:-2] + ", quiet_hours: {from: 800, to: 900}}}", 'write it as "21:30"'),
    ("formula: candidate.value", "model: {intercept: .nan}", "no number that anything can be counted with"),
])
def test_a_number_or_time_that_means_something_else_is_refused(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    found = _said(tmp_path, GOOD.replace(old, new))
    assert any(said in one for one in found) and all(":" in one for one in found), found


def test_unquoted_quiet_hours_are_times(tmp_path: Path) -> None:
    text = GOOD.replace(CHANNEL, CHANNEL[:-2] + ", quiet_hours: {from: 21:30, to: 8:00}}}")
    assert _loaded(tmp_path, text).policy.channels["web"].quiet == (1_290, 480)


def test_a_folder_as_kubernetes_mounts_it_is_read_once(tmp_path: Path) -> None:
    real = tmp_path / "..2026_01_31"
    real.mkdir()
    (real / "policy.yaml").write_text(GOOD, "utf-8")
    (tmp_path / "..data").symlink_to("..2026_01_31")
    (tmp_path / "policy.yaml").symlink_to("..data/policy.yaml")
    assert load(tmp_path).items.keys() == {"a"}


def test_linked_folders_and_other_endings_are_read_and_hidden_names_are_not(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "offers.YAML").write_text("items: {b: {kind: offer, variants: {default: {}}}}\n", "utf-8")
    folder = tmp_path / "policy"
    (folder / ".github" / "workflows").mkdir(parents=True)
    (folder / ".github" / "workflows" / "ci.yml").write_text("on: push\n", "utf-8")
    (folder / "._policy.yaml").write_bytes(b"\x00\x05\x16\x07")
    (folder / "catalog").symlink_to(elsewhere)
    (folder / "again").symlink_to(folder)
    assert _loaded(folder, GOOD).items.keys() == {"a", "b"}


def test_a_link_to_nothing_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "offers.yaml").symlink_to("gone.yaml")
    assert any("offers.yaml:1:1: cannot be read" in one for one in _said(tmp_path, GOOD))


@pytest.mark.parametrize("kind", ["link to a device", "device", "pipe", "link to a pipe", "socket"])
def test_what_is_no_file_is_a_finding_at_once(tmp_path: Path, kind: str) -> None:
    name, elsewhere = tmp_path / "offers.yaml", tmp_path / "elsewhere"
    with socket.socket(socket.AF_UNIX) as listening:
        if kind == "link to a device":
            name.symlink_to("/dev/zero")
        elif kind == "device":
            try:
                os.mknod(name, stat.S_IFCHR | 0o600, os.makedev(1, 5))
            except PermissionError:
                pytest.skip("devices may not be made here")
        elif kind == "pipe":
            os.mkfifo(name)
        elif kind == "link to a pipe":
            os.mkfifo(elsewhere)
            name.symlink_to(elsewhere)
        else:
            listening.bind(os.path.relpath(name))
        assert "offers.yaml:1:1: cannot be read: it is no file, but a device, pipe or socket" in _said(tmp_path, GOOD)


def test_without_items_it_is_doubted_and_removing_many_asks_again(tmp_path: Path) -> None:
    checked = _loaded(tmp_path, GOOD.replace(ITEM, ""))
    assert any("there are no items" in str(doubt) for doubt in checked.doubts)
    assert prepare(checked, "shop", {"a": "{}"}, 0, "me").sweeping
    with_one = _loaded(tmp_path, GOOD)
    many = {f"i{number}": "{}" for number in range(40)} | {"a": with_one.items["a"]}
    assert prepare(with_one, "shop", many, 0, "me").sweeping
    few = {name: many[name] for name in [*list(many)[:9], "a"]}
    assert not prepare(with_one, "shop", few, 0, "me").sweeping
    assert not prepare(with_one, "shop", {}, 0, "me").sweeping


@pytest.mark.parametrize(("content", "said"), [
    (GOOD.encode("utf-16"), "policy.yaml:1:1: the file is UTF-16 — save it as UTF-8"),
    (GOOD.replace("welcome", "für").encode("latin-1"), "policy.yaml:10:59: the byte 0xfc is no UTF-8"),
    (GOOD + "x: \x01\n", "policy.yaml:15:4: not YAML: the character U+0001"),
    (GOOD.replace("limit: 1", "limit: !env LIMIT"), "policy.yaml:13:51: the tag !env means nothing here"),
    (GOOD.replace("limit: 1", "limit: !!int abc"), "policy.yaml:13:51: 'abc' is no int"),
    (GOOD + "? [a, b]\n: c\n", "policy.yaml:15:3: a list or a map cannot be a name here"),
    (GOOD + "identity: &a {types: {x: *a}}\n", "an alias within what it stands for has no end"),
    (GOOD + "golden: " + "[" * 5_000 + "]" * 5_000 + "\n", f"nested deeper than {DEPTH_MAX} levels"),
    (GOOD + "x: " + "a" * FILE_BYTES_MAX, "at most 2,097,152 are read"),
    (GOOD + 'x: "Boots \\U00110000"\n', "policy.yaml:15:11: not YAML: \\U00110000 is no character"),
    (GOOD + 'x: "\\UFFFFFFFF"\n', "policy.yaml:15:5: not YAML: \\UFFFFFFFF is no character"),
    (GOOD + "y:\n  - 'ok'\n  - \"\\UfFfFfFfF\"\n", "policy.yaml:17:6: not YAML: \\UfFfFfFfF is no character"),
    ("%YAML 1." + "9" * 5_000 + "\n---\n" + GOOD, "policy.yaml:1:9: not YAML: exceeds the limit"),
])
def test_what_cannot_be_read_is_a_finding_with_its_place(tmp_path: Path, content: str | bytes, said: str) -> None:
    found = _said(tmp_path, content)
    assert any(said in one for one in found), found


def test_all_files_findings_come_together(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes("ü".encode("latin-1"))
    (tmp_path / "b.yaml").write_text("x: !env Y\n", "utf-8")
    found = _said(tmp_path, GOOD.replace("age: int", "age: integer"))
    assert [one.partition(":")[0] for one in found] == ["a.yaml", "b.yaml"] or len(found) >= 2


@pytest.mark.parametrize("shape", ["list", "map", "content"])
def test_a_bomb_of_aliases_is_refused_at_once(tmp_path: Path, shape: str) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]" if shape != "map" else "a0: &a0 {k: x, l: x, m: x}"]
    for level in range(1, 12):
        before = f"*a{level - 1}"
        many = ", ".join([before] * 9) if shape != "map" else ", ".join(f"k{n}: {before}" for n in range(9))
        lines.append(f"a{level}: &a{level} {'{' if shape == 'map' else '['}{many}{'}' if shape == 'map' else ']'}")
    text = GOOD + "\n".join(lines) + "\n"
    if shape == "content":
        text = GOOD + "x: &x " + "y" * 60_000 + "\n" + "z: [" + ", ".join(["*x"] * 5_000) + "]\n"
    assert any(f"over {EXPANDED_MAX:,} values" in one for one in _said(tmp_path, text))


@pytest.mark.parametrize("rule", [
    "1" + " + 1" * 1_900 + " > 0", "!" * 3_000 + "true", "(" * 1_000 + "true" + ")" * 1_000])
def test_a_rule_too_deep_is_a_finding(tmp_path: Path, rule: str) -> None:
    assert _said(tmp_path, GOOD.replace("profile.age >= 18", f"'{rule}'"))


@pytest.mark.parametrize("step", [-1, 1])
def test_a_chain_of_segments_is_as_long_as_it_likes(tmp_path: Path, step: int) -> None:
    ends = {0: "profile.age >= 18", 2_001: "profile.age >= 18"}
    chain = "".join(f"  s{n:04}: {{rule: {ends.get(n + step, f'segment.s{n + step:04}')}}}\n" for n in range(1, 2_001))
    text = GOOD.replace("segments: {adults: {rule: profile.age >= 18}}",
                        f"segments:\n  adults: {{rule: profile.age >= 18}}\n{chain}")
    names = [segment.id for segment in _loaded(tmp_path, text).policy.segments]
    assert sorted(names) == ["adults", *(f"s{n:04}" for n in range(1, 2_001))]
    assert names.index("s1000") - names.index(f"s{1_000 + step:04}") > 0, "read before it is there"


def test_segments_in_circles_are_all_said_however_long(tmp_path: Path) -> None:
    circle = "".join(f"  s{number}: {{rule: segment.s{(number + 1) % 2_000}}}\n" for number in range(2_000))
    text = GOOD.replace("segments: {adults: {rule: profile.age >= 18}}",
                        f"segments:\n  adults: {{rule: segment.adults}}\n{circle}")
    said = [one for one in _said(tmp_path, text) if "in a circle" in one]
    assert len(said) == 2
    assert any("adults → adults" in one for one in said)


@pytest.mark.parametrize(("written", "said"), [
    ("'{{ candidate.value | money }}'", "money of which currency?"),
    ("'{{ candidate.value | money(\\'EURO\\') }}'", "nothing that money knows"),
    ("'{{ profile.plan | date }}'", "date shows a date or timestamp, this is a string"),
    ("'{{ candidate.value | number(2, \\'xx_YY\\') }}'", "there is no locale 'xx_YY'"),
    ("'{{ profile.since }}'", "a timestamp cannot be shown"),
    ("'{{ candidate.value | number | 1.0 }}'", "the default is a double, the value a string"),
    ("'{{ profile.plan | \\'a\\' | \\'b\\' }}'", "one format and one default")])
def test_a_format_that_cannot_be_is_a_finding(tmp_path: Path, written: str, said: str) -> None:
    [found] = _said(tmp_path, _with_content(written.replace("\\'", "''")))
    assert said in found


def test_a_fallback_with_a_gap_is_a_finding(tmp_path: Path) -> None:
    [found] = _said(tmp_path, GOOD.replace("{item: welcome}", "{item: welcome, content: {t: 'Hi {{ profile.plan }}'}}"))
    assert "a fallback is shown without knowing anybody" in found


def test_a_text_too_long_is_told(tmp_path: Path) -> None:
    [said] = _said(tmp_path, _with_content("x" * 70_000))
    assert "has 70,000 characters, at most 65,536" in said


_texts = st.one_of(st.text(max_size=12), st.sampled_from([
    "010", "0x1F", ".nan", "NO", "12:30", "!env x", "!!int a", "*a", "&a", "1e999", "{", "[", "- ", "? ", "<<: *a",
    "\t", "99999999999999999999", "|", ">", "---", "...", "%YAML 1.1", "\x00", "\ud7ff", "\ufeff"]))
_trees = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12)),
    lambda below: st.one_of(st.lists(below, max_size=4), st.dictionaries(st.text(max_size=8), below, max_size=4)),
    max_leaves=12)
_SECTIONS = sorted(field.alias or name for name, field in PolicyDefinition.model_fields.items())


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(
    st.lists(_texts, max_size=8).map(" ".join),
    st.tuples(st.sampled_from(_SECTIONS), _trees).map(lambda one: yaml.safe_dump({one[0]: one[1]}, allow_unicode=True)),
    st.tuples(st.integers(0, len(GOOD) - 1), _texts).map(lambda one: GOOD[:one[0]] + one[1] + GOOD[one[0]:]),
))
def test_whatever_the_file_it_is_a_release_or_findings_with_places(tmp_path: Path, text: str) -> None:
    try:
        _loaded(tmp_path, text.encode("utf-8", "surrogatepass"))
    except PolicyError as error:
        assert error.findings and all(one.place.line >= 1 and str(one.place.file) for one in error.findings)
    except FileNotFoundError:
        assert not os.listdir(tmp_path)


_ODD = st.sampled_from([
    *(f"\\{kind}{digits}" for kind in "xuUN_LP0 /e\n"
      for digits in ("", "4", "ff", "FFFF", "D800", "00110000", "f" * 8)),
    '"', "'", "{", "}", "[", "]", ":", "? ", "- ", ", ", "&a ", "*a", "!!str ", "!<x%FF%>", "!e!x ", "%YAML 1.2\n",
    "%TAG ! x\n", "%YAML " + "9" * 4_400 + "\n", "---\n", "...\n", "|9\n", ">-\n", "\n", "\t", "\r", "\x85", "\u2028",
    "\ufeff", "\x00", "\ud800", "\U0001f600", "a", " ", "#", "@", "`", "!!int 1", "<<"])


@settings(max_examples=1_500, deadline=None)
@given(st.one_of(
    st.lists(st.one_of(_ODD, st.text(max_size=3)), max_size=12).map("".join),
    st.lists(_ODD, max_size=6).map(lambda parts: 'x: "' + "".join(parts) + '"\n'),
    st.binary(max_size=24).map(lambda data: data.decode("utf-8", "surrogateescape"))))
def test_whatever_the_text_it_is_read_or_refused_with_its_place(text: str) -> None:
    for content in (text.encode("utf-8", "surrogateescape" if _from_bytes(text) else "surrogatepass"),
                    f'x: "{text}"'.encode("utf-8", "surrogatepass")):
        try:
            composed(decoded(content))
        except Unreadable as error:
            assert error.line >= 1 and error.column >= 1 and str(error)


def _from_bytes(text: str) -> bool:
    return all(not "\ud800" <= one <= "\udfff" or "\udc80" <= one <= "\udcff" for one in text)
