"""The short form of `make fuzz`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz.installation import installed
from tests.fuzz.rounds import Rounds

pytestmark = pytest.mark.broker


def test_a_round_of_odd_inputs_hurts_nobody(tmp_path: Path) -> None:
    with installed(tmp_path) as there:
        rounds = Rounds(there, random.Random(1), examples=25)
        rounds.one()
    assert rounds.calls > 200 and rounds.records > 400
