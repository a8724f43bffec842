"""What is stored of a record makes the record again."""

from __future__ import annotations

import pyarrow as pa
import pytest

from log_store.columns import LOGGED, columns_of
from log_store.restoring import restorer
from pipeline.codecs import avro
from pipeline.codecs.personal import ENCRYPTED
from pipeline.codecs.registry import NEWEST
from topics.catalog import Topic


@pytest.mark.parametrize("view", LOGGED)
def test_the_columns_of_a_record_make_it_again(view: str) -> None:
    topic: Topic = LOGGED[view]
    data = NEWEST[topic.schema or ""].sample.read_bytes()
    plain, _ = avro.fields(topic, data)
    columns = columns_of(topic)
    row = columns.open_values(plain) | columns.personal_values(plain)
    schema = pa.schema([*columns.open, *columns.personal])
    place = {name: plain[name] for name in ("tenant", "day") if name in plain}
    back = pa.Table.from_pylist([row], schema).to_pylist()[0] | place
    again = restorer(topic)(back)
    expected = avro.decode(topic, data)
    fields = [name for name in expected.__struct_fields__ if name != ENCRYPTED]
    assert [getattr(again, name) for name in fields] == [getattr(expected, name) for name in fields]
