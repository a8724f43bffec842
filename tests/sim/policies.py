"""The two policies of a simulated shop: the live one, and the one that may be published while it runs."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.codecs import avro
from pipeline.core.decide.live import Live
from pipeline.policy.directory import Directory
from tests.support import shop
from topics.catalog import BY_NAME

#: Without a purpose for tracking, so that every click counts whenever it comes.
POLICY = shop.POLICY.replace("  tracking: personalization\n", "").replace(
    "\nitems:\n",
    "\n  clicked:\n    count: click\n    per: item\n    limit: 1000\n    window: lifetime\nitems:\n",
)
#: Other words, another order, one placement more: an answer given anew differs from the first.
POLICY_CHANGED = (
    POLICY.replace("priority: 50", "priority: 5")
    .replace("title: Tips", "title: More tips")
    .replace(
        "\nplacements:\n",
        "\nplacements:\n  footer:\n    channels: [web]\n    ttl: 5m\n    fallback: {item: welcome}\n",
    )
)

#: Over all members of an account.
ACCOUNT_CAP = 3
_OF_ACCOUNT = f"\ncaps:\n  account_day: {{of: account, count: decision, per: all, limit: {ACCOUNT_CAP}, window: 1d}}\n"


@cache
def policies(accounts: bool = False) -> tuple[Live, Live]:
    """Both policies, compiled; with a cap over all members of an account where there are any."""
    found = []
    for text in (POLICY, POLICY_CHANGED):
        if accounts:
            text = text.replace("\ncaps:\n", _OF_ACCOUNT)
        directory = Directory()
        with TemporaryDirectory() as folder:
            for n, record in enumerate(shop.publication(Path(folder), text)):
                topic = BY_NAME[record.topic]
                directory.apply(record.topic, record.key, avro.decode(topic, record.value or b""), n)
        live = directory.live("shop")
        assert live is not None
        found.append(live)
    return found[0], found[1]
