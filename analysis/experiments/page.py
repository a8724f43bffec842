"""The report as one HTML file: charts as inline SVG, the figures as JSON, no script, nothing that is fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import jinja2
from markupsafe import Markup

from analysis.experiments import charts
from analysis.experiments.report import Report

_TEMPLATE: Final = Path(__file__).with_name("page.html.jinja")


def page(report: Report) -> str:
    """The HTML text. Its policy of content (CSP) forbids everything but its own style."""
    drawn = [
        ("Difference at each look", charts.looks(report)),
        ("Relative lift", charts.effects(report)),
        ("Difference by segment", charts.segments(report)),
    ]
    made = [(title, Markup(charts.svg(spec))) for title, spec in drawn if spec is not None]  # noqa: S704 - our own SVG
    # Inside a script element only "</" and "<!--" could end it early: no "<" is left.
    data = json.dumps(report.as_json()).replace("<", "\\u003c")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(_TEMPLATE.read_text("utf-8"))
    return template.render(report=report, charts=made, data=Markup(data))  # noqa: S704 - no "<" is left
