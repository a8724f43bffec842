"""What the tests just run left out for want of a program or of data: the last line of `make test`."""

from __future__ import annotations

import shutil
from typing import Final

from pipeline.local.jars import cache_directory
from replay_log.open_bandit.dataset import PACKAGE

#: By what is said of it: any one of these programs.
_NEEDED: Final = {
    "Chromium (a page that asks and reports)": ("chromium", "chromium-browser", "google-chrome"),
    "Node.js (Segment's client for Node)": ("node",),
    "npm (Segment's client for Node)": ("npm",),
}
_SAMPLE: Final = "the Open Bandit Dataset's sample (our estimates beside its pipeline's; `make demo` fetches it)"


def missing() -> list[str]:
    """What is not here."""
    left = [what for what, names in _NEEDED.items() if not any(map(shutil.which, names))]
    return left if (cache_directory() / PACKAGE.file).exists() else [*left, _SAMPLE]


if __name__ == "__main__":
    left = missing()
    print(f"Left out, as it is not here: {'; '.join(left)}" if left else "Nothing was left out.")
