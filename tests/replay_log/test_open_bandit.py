"""The demo's data: fetched without running it, verified, and made into a log, a catalog and a policy that is fine."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from pipeline.core.decide.decision import decide
from pipeline.core.model.records import ConsentGrant, DecisionRequest
from pipeline.core.subject import Person
from pipeline.policy.load import load
from replay_log.errors import ReplayError
from replay_log.mapping_file import load_mapping
from replay_log.open_bandit import dataset
from replay_log.open_bandit.dataset import PACKAGE, make_items, prepare
from replay_log.package_data import Package, fetch, verify
from replay_log.reading import Log
from replay_log.rows import read_impression

LOG = """\
,timestamp,item_id,position,click,propensity_score,user_feature_0,user_feature_1,user_feature_2,user_feature_3,x
0,2019-11-24 00:00:34.762830+00:00,1,3,1,0.5,a,b,c,d,0.0
1,2019-11-24 00:00:53.965051+00:00,0,1,0,0.5,a,b,c,e,0.0
"""
#: The other policy showed the items the other way round.
OTHER_LOG = LOG.replace("+00:00,1,", "+00:00,x,").replace("+00:00,0,", "+00:00,1,").replace("+00:00,x,", "+00:00,0,")
ITEMS = """\
,item_id,item_feature_0,item_feature_1,item_feature_2,item_feature_3
0,0,-0.5,aed790911d0344f1,67503f4af781d403,5c1e29f902c3ad66
1,1,0.25,31af389431e50a8f,67503f4af781d403,f56faf88e4759846
"""


def package_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution laid out like the real one, pinned in its place."""
    path = folder / PACKAGE.file
    with zipfile.ZipFile(path, "w") as archive:
        for logged in ("random", "bts"):
            log = LOG if logged == "random" else OTHER_LOG
            for name, text in (("all.csv", log), ("item_context.csv", ITEMS)):
                archive.writestr(f"obp/dataset/obd/{logged}/all/{name}", text)
    pinned = Package(PACKAGE.name, PACKAGE.version, hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(dataset, "PACKAGE", pinned)
    return path


def test_its_rows_are_read_by_the_example_mapping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = prepare(tmp_path / "demo", "random", "all", package_of(tmp_path, monkeypatch))
    located = load_mapping(prepared.mapping)
    log = Log(prepared.log)
    located.check_columns(log.columns, log.path)
    columns = [column for _, column in located.mapping.columns()]
    rows = [read_impression(n, row, located.mapping, lambda who: (who, [])) for n, row in log.rows(columns)
            if isinstance(row, dict)]
    first, second = rows
    assert (first.item_id, first.placement, first.channel, first.clicked) == ("item-1", "right", "web", True)
    assert (second.item_id, second.placement, second.clicked, second.propensity) == ("item-0", "left", False, 0.5)
    assert first.traits == {"user_feature_0": "a", "user_feature_1": "b", "user_feature_2": "c", "user_feature_3": "d"}
    assert first.subject.startswith("simulated-")
    assert first.logged_at_ms == 1_574_553_634_763


def test_items_are_ranked_by_the_other_policys_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the random log item 1 was clicked, in the other one item 0."""
    prepared = prepare(tmp_path / "demo", "random", "all", package_of(tmp_path, monkeypatch))
    items = yaml.safe_load((prepared.policy / "items.yaml").read_text())["items"]
    assert items["item-0"]["attributes"]["click_rate"] > items["item-1"]["attributes"]["click_rate"]


def test_the_example_policy_is_fine_and_ranks_by_click_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = prepare(tmp_path / "demo", "random", "all", package_of(tmp_path, monkeypatch))
    checked = load(prepared.policy)
    profile = Person(consent={"personalization": ConsentGrant("personalization", True, 1)})
    request = DecisionRequest("q", "default/s", "web", ["center"])
    assert [one.item_id for one in decide(request, profile, checked.live("default"), 2).decisions] == ["item-0"]


def test_items_carry_the_click_rate_of_the_log_they_are_given() -> None:
    features = [{"item_id": "7", "item_feature_0": "1.5", "item_feature_3": "abcdefghij"},
                {"item_id": "8", "item_feature_0": "0", "item_feature_3": "x"}]
    shown = [("7", "1")] * 4 + [("7", "0")] * 96 + [("9", "0")] * 100
    rows = [{"item_id": item, "click": click} for item, click in shown]
    items = make_items(features, rows)
    # The mean rate is 4/200; 200 impressions at it are added: (4 + 4) / (100 + 200).
    assert items["item-7"]["attributes"]["click_rate"] == pytest.approx(8 / 300, abs=1e-6)
    assert items["item-7"]["attributes"]["click_rate_high"] == pytest.approx(0.0984, abs=1e-4)
    assert items["item-8"]["attributes"]["click_rate"] == pytest.approx(4 / 200, abs=1e-6)
    assert items["item-8"]["attributes"]["click_rate_high"] == 1.0
    assert items["item-7"]["tags"] == ["category-abcdefgh"]


def test_a_package_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / PACKAGE.file
    path.write_bytes(b"something else")
    with pytest.raises(ReplayError, match=r"is not .* as pinned: its SHA-256 is"):
        verify(path, PACKAGE)
    with pytest.raises(ReplayError, match="cannot be read"):
        verify(tmp_path / "none", PACKAGE)


#: What every file of a distribution does that could be run.
TRAP = "raise SystemExit('the distribution was executed')\n"


def trap(folder: Path) -> Package:
    path = folder / "nbtrap-1.0-py3-none-any.whl"
    files = {
        "nbtrap/__init__.py": TRAP, "nbtrap.pth": f"import sys; {TRAP}",
        "nbtrap-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: nbtrap\nVersion: 1.0\nRequires-Dist: absent\n",
        "nbtrap-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: none\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "nbtrap-1.0.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return Package("nbtrap", "1.0", hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture
def only_local_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return tmp_path


def test_a_package_is_fetched_without_running_a_line_of_it(only_local_packages: Path) -> None:
    package = trap(only_local_packages)
    kept = fetch(package, only_local_packages / "cache")
    assert kept.read_bytes() == (only_local_packages / package.file).read_bytes()
    assert [path.name for path in kept.parent.iterdir()] == [package.file]


def test_a_source_distribution_which_would_have_to_be_built_is_not_taken(only_local_packages: Path) -> None:
    files = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "trapped"\nbackend-path = ["."]\n',
        "trapped.py": f"open({str(only_local_packages / 'executed')!r}, 'w')\n{TRAP}",
    }
    path = only_local_packages / "nbtrap-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"nbtrap-1.0/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    package = Package("nbtrap", "1.0", hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(ReplayError, match="could not be fetched"):
        fetch(package, only_local_packages / "cache")
    assert not (only_local_packages / "executed").exists()


def test_what_is_in_the_cache_is_not_fetched_again(
    only_local_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = trap(only_local_packages)
    kept = fetch(package, only_local_packages / "cache")
    (only_local_packages / package.file).unlink()
    assert fetch(package, only_local_packages / "cache") == kept
    kept.write_bytes(b"spoilt")
    with pytest.raises(ReplayError, match=r"could not be fetched with pip .*--dataset FILE"):
        fetch(package, only_local_packages / "cache")


def test_a_package_of_another_hash_is_never_kept(only_local_packages: Path) -> None:
    package = trap(only_local_packages)
    other = Package(package.name, package.version, "0" * 64)
    with pytest.raises(ReplayError, match="could not be fetched"):
        fetch(other, only_local_packages / "cache")
    assert not (only_local_packages / "cache").exists()
