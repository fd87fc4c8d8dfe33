"""A pipeline's report as one self-contained page, and as JSON."""

import math
from importlib import resources
from pathlib import Path
from typing import Any

from graphopt.core.errors import MissingBackendError
from graphopt.core.files import output_errors, write_json, write_text
from graphopt.core.optional import require
from graphopt.core.words import counted
from graphopt.recipes.pipeline_report import PipelineReport
from graphopt.recipes.report_gallery import gallery, shown_stages
from graphopt.recipes.scoring import Scorer


def write_reports(report: PipelineReport, scorer: Scorer, folder: Path) -> str | None:
    """Write ``report.json`` and ``report.html``; return why the page is missing, or None.

    Raises:
        OutputError: a file cannot be written.
    """
    write_json(folder / "report.json", finite(report.to_json()))
    try:
        jinja2 = require("jinja2", extra="report", purpose="report.html")
    except MissingBackendError as error:
        with output_errors(folder / "report.html"):
            (folder / "report.html").unlink(missing_ok=True)  # an earlier one would contradict report.json
        return f"report.html was not written: {error}"
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        number=lambda value: "-" if value is None else f"{value:.3g}",
        percent=lambda value: "-" if value is None else f"{value:.1%}",
        figure=lambda value: "-" if value is None else f"{value:.4f}",
        points=lambda value: "-" if value is None else f"{value:+.2f}",
        seconds=lambda value: "-" if value is None else f"{value:.1f}",
        megabytes=lambda value: "-" if value is None else f"{value / 1e6:.0f}",
        size=_size_text,
    )
    source = resources.files("graphopt.recipes").joinpath("report.html.j2").read_text(encoding="utf-8")
    page = environment.from_string(source).render(report=_page(report, scorer))
    write_text(folder / "report.html", page)
    return None


def finite(value: Any) -> Any:
    """Return plain data with NaN and infinities as None, which JSON can hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def _page(report: PipelineReport, scorer: Scorer) -> dict[str, Any]:
    stages = shown_stages(scorer)
    shown = stages[-1] if stages else None
    rewrite = report.rewrite
    rows = shown.score.details.get("rows", []) if shown and shown.score else []
    columns = [name for name in rows[0] if name != "name"] if rows else []
    # What the labels do not show has no figure: named, it need not fill a table.
    details = [row for row in rows if row[columns[-1]] is not None] or rows
    return {
        **report.to_json(),
        "has_agreement": report.has_agreement,
        "summary": _summary(report),
        "facts": _facts(report),
        "bars": _bars(report),
        "gallery": gallery(scorer, stages),
        "gallery_stage": " beside ".join(item.label for item in reversed(stages)),
        "details": details,
        "detail_columns": columns,
        "details_absent": [row["name"] for row in rows if row not in details],
        "detail_kind": scorer.recipe.task.detail_kind if scorer.recipe.task else "",
        "passes": [
            {**item, "applied": len(item["applied"]), "declined": len(item["declined"])}
            for item in rewrite["passes"]
        ],
        "verification": _verification(rewrite["verification"]),
        "operators": _operators(rewrite),
        "batches": [{"passed": check.passed, "text": check.text} for check in report.batches],
        "provenance": _provenance(report, scorer),
        "environment": ", ".join(f"{name} {version}" for name, version in report.environment.items()),
    }


def _summary(report: PipelineReport) -> str:
    nodes = f"{report.rewrite['nodes_before']} to {report.rewrite['nodes_after']} nodes"
    return f"{len(report.stages)} stages on {report.sample_kind}; rewritten from {nodes}. " + " ".join(
        f"Note: {note}." for note in report.notes
    )


def _facts(report: PipelineReport) -> list[dict[str, str]]:
    facts = []
    measured = [row for row in report.stages if row.metric is not None and not row.estimate]
    if measured:
        facts.append(
            {"what": f"{report.metric}, {measured[-1].stage}", "value": f"{measured[-1].metric:.4f}"}
        )
        losses = [row.change for row in measured if row.change is not None]
        if losses:
            facts.append(
                {"what": f"largest change, gate {report.max_drop} points", "value": f"{min(losses):+.2f} pt"}
            )
        figures = report.scores.get(measured[-1].stage, {}).get("figures", {})
        facts += [
            {"what": f"{name.replace('_', ' ')}, {measured[-1].stage}", "value": f"{value:.4f}"}
            for name, value in list(figures.items())[-1:]
            if value is not None and value >= 0  # COCO says -1 where nothing was to be found
        ]
    errors = [row.max_error for row in report.stages if row.max_error is not None and not row.estimate]
    if errors:
        facts.append({"what": f"largest error against {report.reference}", "value": f"{max(errors):.2g}"})
    nodes = f"{report.rewrite['nodes_before']} → {report.rewrite['nodes_after']}"
    facts.append({"what": "nodes, raw → rewritten", "value": nodes})
    facts.append({"what": report.sample_kind.partition(" ")[2] or "inputs", "value": str(report.samples)})
    return facts


def _bars(report: PipelineReport) -> list[dict[str, Any]]:
    bars: list[dict[str, Any]] = [
        {
            "label": f"{row.stage} (estimate)" if row.estimate else row.stage,
            "value": row.metric,
            "published": False,
        }
        for row in report.stages
        if row.metric is not None
    ]
    bars += [
        {"label": item["what"], "value": item["value"], "published": True}
        for item in report.published
        if report.metric in item["what"]
    ]
    return bars


def _verification(content: dict[str, Any]) -> str:
    reason = f", {content['reason']}" if content["reason"] else ""
    error = f", largest error {content['max_abs']:.3g}" if content["max_abs"] is not None else ""
    return f"{content['status']} on {counted(content['samples'], 'input')} ({content['kind']}){error}{reason}"


def _operators(rewrite: dict[str, Any]) -> list[dict[str, Any]]:
    before, after = rewrite["ops_before"], rewrite["ops_after"]
    names = sorted({*before, *after}, key=lambda name: (-before.get(name, 0), name))
    return [{"name": name, "before": before.get(name, 0), "after": after.get(name, 0)} for name in names]


def _provenance(report: PipelineReport, scorer: Scorer) -> list[dict[str, str]]:
    from graphopt.core.artefacts import Artefact

    rows = [{"file": row.stage, "sha256": row.sha256, "parent": ""} for row in report.stages if row.sha256]
    for place in sorted(scorer.folder.folder.rglob("*.json")):
        artefact = Artefact.load(place.with_suffix("")) if place.with_suffix("").is_file() else None
        for entry in rows:
            if artefact is not None and entry["sha256"] == artefact.sha256:
                entry["parent"] = artefact.parent_sha256
                entry["file"] = place.with_suffix("").relative_to(scorer.folder.folder).as_posix()
    return rows


def _size_text(count: int | None) -> str:
    if not count:
        return "-"
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
