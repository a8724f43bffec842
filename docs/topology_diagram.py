"""The diagram in ARCHITECTURE.md, drawn from `pipeline/topology.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pipeline.flow import Flow
from pipeline.topology import FLOWS

PAGE: Final = Path(__file__).resolve().parents[1] / "ARCHITECTURE.md"
BEGIN: Final = "<!-- topology:begin -->\n"
END: Final = "<!-- topology:end -->"


def page() -> str:
    """ARCHITECTURE.md with the diagram and the table of flows between its marks as they should be."""
    text = PAGE.read_text("utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{diagram()}\n{table()}\n{END}{after}"


def diagram() -> str:
    """Mermaid: topics as cylinders, flows as boxes, the table that flows share."""
    lines = ["```mermaid", "flowchart LR"]
    for flow in FLOWS:
        lines.append(f"  {_name(flow.reads.name)}[({flow.reads.name})] --> {flow.name}[{flow.name}]")
    for topic in dict.fromkeys(topic.name for flow in FLOWS for topic in flow.writes if topic.name != "dead.letters"):
        writers = " & ".join(flow.name for flow in FLOWS if topic in {written.name for written in flow.writes})
        lines.append(f"  {writers} --> {_name(topic)}[({topic})]")
    for table in dict.fromkeys(flow.table.name for flow in FLOWS if flow.table):
        sharing = " & ".join(flow.name for flow in FLOWS if flow.table and flow.table.name == table)
        lines.append(f"  {sharing} <--> {table}[[{table}]]")
    return "\n".join([*lines, "```", "", "Every flow can also write `dead.letters`.", ""])


def table() -> str:
    """One row per flow."""
    rows = ["| flow | reads | keeps | lane | what it does |", "|---|---|---|---|---|"]
    return "\n".join([*rows, *map(_row, FLOWS), ""])


def _row(flow: Flow) -> str:
    kept = f"`{flow.table.name}`" if flow.table else "–"
    return f"| {flow.name} | `{flow.reads.name}` | {kept} | {flow.lane.value} | {flow.doc} |"


def _name(topic: str) -> str:
    return topic.replace(".", "_")
