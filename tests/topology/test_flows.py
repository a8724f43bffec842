"""The topology is data; these are the laws it keeps."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from pipeline.flow import Lane
from pipeline.topology import AGENT_FLOWS, BATCH_FLOWS, FLOWS
from topics.catalog import SUBJECT_PARTITIONS, TOPICS


def test_every_topic_is_read_by_at_most_one_flow() -> None:
    readers = Counter(flow.reads.name for flow in FLOWS)
    assert max(readers.values()) == 1


def test_every_flow_has_a_lane_and_an_agent_module_of_its_name() -> None:
    agents = {path.stem for path in (Path(__file__).parents[2] / "pipeline" / "agents").glob("[!_]*.py")}
    assert {flow.name for flow in FLOWS} == agents
    assert {flow.name for flow in (*BATCH_FLOWS, *AGENT_FLOWS)} == agents


def test_flows_that_share_a_table_are_co_partitioned_and_in_the_batch_lane() -> None:
    for flow in FLOWS:
        if flow.table is not None:
            assert flow.reads.partitions == SUBJECT_PARTITIONS
            assert flow.lane is Lane.BATCH


def test_a_topic_is_written_by_flows_that_there_are() -> None:
    assert {name for topic in TOPICS for name in topic.written_by} <= {flow.name for flow in FLOWS}


def test_every_flow_can_dead_letter() -> None:
    assert all("dead.letters" in {topic.name for topic in flow.writes} for flow in FLOWS)


def test_every_declared_topic_is_written_or_read_by_the_pipeline() -> None:
    used = {flow.reads.name for flow in FLOWS} | {topic.name for flow in FLOWS for topic in flow.writes}
    assert {topic.name for topic in TOPICS} == used


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_inputs_are_stamped_by_the_broker_where_decisions_depend_on_time(flow) -> None:  # type: ignore[no-untyped-def]
    assert flow.reads.log_append_time or flow.table is None
