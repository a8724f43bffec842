"""A worker's place in its group, given up in its name once it is known to be dead.

Otherwise nobody decides for its partitions before its session has run out. A worker that only seems dead loses nothing
by it but its partitions: whoever takes them over is told apart by epoch and fence (docs/adr/0003-zombies.md).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path
from typing import Final

from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import KafkaError
from aiokafka.protocol.group import LeaveGroupRequest

from pipeline.settings import Settings

#: In the worker's data directory: the member id that the group gave it.
FILE: Final = "member"
ANSWER_S: Final = 3.0

log = logging.getLogger(__name__)


def note(data_dir: Path, member_id: str) -> None:
    """Keep a living worker's member id, for whoever notices its end."""
    new = data_dir / f"{FILE}.new"
    new.write_text(member_id, "utf-8")
    new.replace(data_dir / FILE)


def leave_soon(settings: Settings) -> threading.Thread:
    """Leave the group in the name of the worker that ran with these settings and is dead; at once, in a thread."""
    thread = threading.Thread(target=leave, args=(settings,), name="leave", daemon=True)
    thread.start()
    return thread


def leave(settings: Settings) -> bool:
    """The same, and wait: whether the group has let it go. False, with a warning, where the session must run out."""
    path = settings.data_dir / FILE
    try:
        member_id = path.read_text("utf-8")
        path.unlink()
    except FileNotFoundError:
        return False  # it had no place yet
    try:
        asyncio.run(asyncio.wait_for(_leave(settings, member_id), ANSWER_S))
    except (KafkaError, OSError, TimeoutError) as error:
        log.warning("the group was not told that a worker is dead, its session must run out: %r", error)
        return False
    return True


async def _leave(settings: Settings, member_id: str) -> None:
    client = AIOKafkaClient(
        bootstrap_servers=settings.bootstrap.split(","), client_id=f"{settings.app_id}-leave",
        request_timeout_ms=int(ANSWER_S * 1_000),
    )
    try:
        await client.bootstrap()
        coordinator = await client.coordinator_lookup(CoordinationType.GROUP, settings.app_id)
        if not await client.ready(coordinator, group=ConnectionGroup.COORDINATION):
            raise OSError("the group's coordinator cannot be reached")
        request = LeaveGroupRequest(settings.app_id, member_id)
        # An error in the answer says that the group does not know the member any more.
        await client.send(coordinator, request, group=ConnectionGroup.COORDINATION)
    finally:
        await client.close()
