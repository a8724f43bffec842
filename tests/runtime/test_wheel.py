"""The wheel holds what a checkout has beside the code: schemas, samples, the example policy, the broker's pins."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_wheel_is_complete(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("nextbest-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        str(path.relative_to(ROOT))
        for folder in ("pipeline", "topics", "schemas", "policy")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"pipeline/local/kafka_jars.lock", "schemas/registry.json"} < wanted
    assert wanted <= names
    entry_points = next(name for name in names if name.endswith("entry_points.txt"))
    assert "nextbest = pipeline.cli.main:app" in zipfile.ZipFile(wheel).read(entry_points).decode()
