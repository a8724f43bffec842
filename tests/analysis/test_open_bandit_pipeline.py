"""Our estimates beside the Open Bandit Pipeline's, on the sample of the Open Bandit Dataset (ZOZO, Inc., CC BY 4.0).

Saito, Aihara, Matsutani, Narita, "Open Bandit Dataset and Pipeline", NeurIPS 2021 Datasets and Benchmarks. Its
quickstart publishes, for Bernoulli Thompson sampling judged by the uniform log of campaign "all", IPW 0.004553: that
is 1.198126 times the log's click rate. The other figures are what its own estimators (obp 0.4.1) give for the arrays
made here; its published DM and DR depend on a learner of another library, of a version that is not said.
"""

from __future__ import annotations

import csv
import io
import zipfile
from typing import Final

import numpy as np
import pytest
import yaml

from analysis.off_policy.estimators import Declared, Method, effective_size, estimate
from analysis.off_policy.intervals import Bootstrap
from analysis.off_policy.log import Floats, Log
from pipeline.local.jars import cache_directory
from replay_log.learning import Learning
from replay_log.open_bandit.dataset import PACKAGE
from replay_log.package_data import verify
from replay_log.rows import Impression

WHEEL: Final = cache_directory() / PACKAGE.file
pytestmark = pytest.mark.skipif(not WHEEL.exists(), reason="the sample is not in the cache: `nextbest demo` fetches it")

#: obp 0.4.1: InverseProbabilityWeighting, SelfNormalized..., DirectMethod, DoublyRobust, SwitchDoublyRobust(tau=5).
OBP: Final = {
    Method.IPS: 0.00455288,
    Method.SNIPS: 0.0047758330812309535,
    Method.DM: 0.004214548688154741,
    Method.DR: 0.004684326832098276,
    Method.SWITCH_DR: 0.0044590580501510215,
}


@pytest.fixture(scope="module")
def sample() -> tuple[Log, Floats]:
    """The log, and the probabilities of Bernoulli Thompson sampling by item and position."""
    with zipfile.ZipFile(verify(WHEEL, PACKAGE)) as archive:
        text = archive.read("obp/dataset/obd/random/all/all.csv").decode()
        prior = yaml.safe_load(archive.read("obp/policy/conf/prior_bts.yaml"))["all"]
    rows = list(csv.DictReader(io.StringIO(text)))
    log = Log(
        np.array([int(row["item_id"]) for row in rows]),
        np.array([float(row["click"]) for row in rows]),
        np.array([float(row["propensity_score"]) for row in rows]),
        80,
        position=np.array([int(row["position"]) - 1 for row in rows]),
    )
    return log, thompson(np.array(prior["alpha"]), np.array(prior["beta"]))


def thompson(alpha: Floats, beta: Floats, draws: int = 100_000, at_once: int = 10_000) -> Floats:
    """How often each item is drawn first, second and third, with the generator and seed that were published."""
    chance, counts = np.random.RandomState(12345), np.zeros((len(alpha), 3))
    for _ in range(draws // at_once):
        # The same numbers as of so many calls one after the other.
        drawn = chance.beta(alpha, beta, (at_once, len(alpha)))
        top = np.argpartition(drawn, -3, axis=1)[:, -3:]
        order = np.take_along_axis(drawn, top, axis=1).argsort(axis=1)[:, ::-1]
        ranked = np.take_along_axis(top, order, axis=1)
        for place in range(3):
            counts[:, place] += np.bincount(ranked[:, place], minlength=len(alpha))
    return np.asarray(counts / draws, np.float64)


def model(log: Log) -> Floats:
    """The model that obp was given too: click rates by item and position, as with 50 impressions more at the mean."""
    shown, clicked = np.zeros((80, 3)), np.zeros((80, 3))
    np.add.at(shown, (log.action, log.positions()), 1)
    np.add.at(clicked, (log.action, log.positions()), log.reward)
    rates = (clicked + 50 * log.reward.mean()) / (shown + 50)
    return np.asarray(rates.T[log.positions()], np.float64)


def test_the_policy_is_the_one_that_was_published(sample: tuple[Log, Floats]) -> None:
    _, policy = sample
    np.testing.assert_allclose(policy[0], [0.01078, 0.00931, 0.00917], atol=1e-12)
    np.testing.assert_allclose(policy[-1], [0.0582, 0.07603, 0.07998], atol=1e-12)


def test_ips_is_the_published_estimate_to_its_last_digit(sample: tuple[Log, Floats]) -> None:
    log, policy = sample
    made = estimate(Method.IPS, log, policy.T[log.positions()], Bootstrap())
    assert made.value is not None
    assert round(made.value, 6) == 0.004553
    assert f"{made.value / log.reward.mean():.6f}" == "1.198126"


@pytest.mark.parametrize("method", list(Method))
def test_every_estimate_is_what_the_pipelines_code_gives(method: Method, sample: tuple[Log, Floats]) -> None:
    log, policy = sample
    made = estimate(method, log, policy.T[log.positions()], Bootstrap(), Declared(tau=5.0), model(log))
    assert made.value == pytest.approx(OBP[method], abs=1e-9, rel=1e-9)


def test_the_bootstrap_agrees_with_the_published_interval(sample: tuple[Log, Floats]) -> None:
    """0.001531 to 0.009254 by 10,000 resamples of another generator."""
    log, policy = sample
    made = estimate(Method.IPS, log, policy.T[log.positions()], Bootstrap(resamples=2000))
    assert made.low == pytest.approx(0.001531, abs=0.0002)
    assert made.high == pytest.approx(0.009254, abs=0.0005)
    assert made.ess == pytest.approx(effective_size(log.taken(policy.T[log.positions()]) / log.pscore))


def test_the_sample_has_too_few_clicks_to_judge_a_policy_that_learns_by(sample: tuple[Log, Floats]) -> None:
    """What the demo's summary says: the estimate with its interval, and that the data are too few."""
    log, _ = sample
    learning = Learning()
    for number in range(log.rows):
        learning.add(Impression(
            number, f"s{number}", str(log.action[number]), str(log.positions()[number]), "web",
            clicked=bool(log.reward[number]), propensity=float(log.pscore[number])))
    told = learning.summary()
    assert told is not None
    assert (told["learnt_from"], told["judged_by"], len(told["estimates"])) == (5_000, 5_000, 3)
    for one in told["estimates"]:
        assert 0 < one["low"] < one["value"] < one["high"] < 0.02
        assert one["low"] < told["logged"]["mean"] < one["high"]
    assert "rewarded rows of this policy's own, and 10 are needed" in told["too_few"]
