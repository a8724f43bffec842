"""The report's charts as Vega-Lite specifications, drawn to SVG without a browser and without a network."""

from __future__ import annotations

from typing import Any, Final

import vl_convert

from analysis.experiments.report import Report

#: The grammar that the specifications are written in.
_VEGA_LITE: Final = "5.20"
_WIDTH: Final = 680
_SCHEMA: Final = "https://vega.github.io/schema/vega-lite/v5.json"
_CONFIG: Final = {"font": "sans-serif", "view": {"stroke": None}, "axis": {"gridOpacity": 0.4}}


def svg(spec: dict[str, Any]) -> str:
    """The chart as SVG. Data are in the specification: nothing is fetched."""
    drawn: str = vl_convert.vegalite_to_svg(spec, vl_version=_VEGA_LITE, allowed_base_urls=[])
    return drawn


def looks(report: Report) -> dict[str, Any] | None:
    """The difference and its interval at each look, a row for each variation; None where no look had enough
    subjects.
    """
    values = [
        {
            "variation": one.variation, "at": look.at_ms, "subjects": look.n, "difference": look.effect.difference,
            "low": look.effect.low, "high": look.effect.high,
        }
        for one in report.comparisons for look in one.looks if look.effect is not None
    ]
    if not values:
        return None
    x = {"field": "at", "type": "temporal", "title": None, "scale": {"type": "utc"}}
    tooltip = [{"field": name} for name in ("variation", "subjects", "difference", "low", "high")]
    layers = [
        _zero(),
        {"mark": {"type": "area", "opacity": 0.25, "color": "#4c78a8"}, "encoding": {
            "x": x, "y": _number("low", "difference to the control"), "y2": {"field": "high"},
        }},
        {"mark": {"type": "line", "point": True, "color": "#4c78a8"}, "encoding": {
            "x": x, "y": _number("difference", "difference to the control"), "tooltip": tooltip,
        }},
    ]
    inner = {"width": _WIDTH, "height": 220, "layer": layers}
    return _spec(values, {"facet": {"row": {"field": "variation", "title": None}}, "spec": inner})


def effects(report: Report) -> dict[str, Any] | None:
    """The relative lift of each variation with its interval; None where no lift can be said."""
    values = [
        {"label": one.variation, "value": one.effect.lift, "low": one.effect.lift_low, "high": one.effect.lift_high}
        for one in report.comparisons if one.effect is not None and one.effect.lift is not None
    ]
    return _intervals(values, "relative lift", "%") if values else None


def segments(report: Report) -> dict[str, Any] | None:
    """The difference in each segment with its interval; None where there are no segments with enough subjects."""
    several = len(report.comparisons) > 1
    values = [
        {
            "label": f"{one.segment}: {one.value}" + (f" ({one.variation})" if several else ""),
            "value": one.effect.difference, "low": one.effect.low, "high": one.effect.high,
        }
        for one in report.segments if one.effect is not None
    ]
    return _intervals(values, "difference to the control", "~g") if values else None


def _intervals(values: list[dict[str, Any]], title: str, form: str) -> dict[str, Any]:
    y = {"field": "label", "type": "nominal", "title": None, "sort": None, "axis": {"labelLimit": 260}}
    layers = [
        _zero("x"),
        {"mark": {"type": "rule", "strokeWidth": 3, "color": "#4c78a8"}, "encoding": {
            "y": y, "x": _number("low", title, form), "x2": {"field": "high"},
        }},
        {"mark": {"type": "point", "filled": True, "size": 80, "color": "#1f3d5c"}, "encoding": {
            "y": y, "x": _number("value", title, form),
        }},
    ]
    return _spec(values, {"width": _WIDTH, "height": {"step": 32}, "layer": layers})


def _number(field: str, title: str, form: str = "~g") -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "title": title, "axis": {"format": form}}


def _zero(channel: str = "y") -> dict[str, Any]:
    return {"mark": {"type": "rule", "strokeDash": [4, 4], "color": "#888"}, "encoding": {channel: {"datum": 0}}}


def _spec(values: list[dict[str, Any]], rest: dict[str, Any]) -> dict[str, Any]:
    return {"$schema": _SCHEMA, "data": {"values": values}, "config": _CONFIG, **rest}
