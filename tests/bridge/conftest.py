"""What the bridge's tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.bridge.pipeline_double import BridgeDouble


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def bridge(tmp_path: Path) -> BridgeDouble:
    return BridgeDouble(tmp_path / "policy")


@pytest.fixture
async def client(bridge: BridgeDouble) -> AsyncIterator[httpx.AsyncClient]:
    async with bridge.client() as client:
        yield client
