"""What the tests just run left out for want of a program: the last line of `make test`."""

from __future__ import annotations

import shutil
from typing import Final

#: By what is said of it: any one of these programs.
_NEEDED: Final = {
    "Chromium (a page that asks and reports)": ("chromium", "chromium-browser", "google-chrome"),
    "Node.js (Segment's client for Node)": ("node",),
    "npm (Segment's client for Node)": ("npm",),
}


def missing() -> list[str]:
    """What is not installed."""
    return [what for what, names in _NEEDED.items() if not any(map(shutil.which, names))]


if __name__ == "__main__":
    left = missing()
    print(f"Left out, as it is not installed: {'; '.join(left)}" if left else "Nothing was left out.")
