"""Rewrites of a model, each proven numerically."""

import importlib
from typing import TYPE_CHECKING, Any

from graphopt.surgery.steps import Expect, PassStep, parse_steps

if TYPE_CHECKING:
    from graphopt.surgery.catalogue import (
        OptionInfo,
        PassInfo,
        describe_passes,
        find_pass,
        make_pass,
        pass_names,
    )
    from graphopt.surgery.catalogue_markdown import catalogue_page
    from graphopt.surgery.engine.rewriting import rewrite_file
    from graphopt.surgery.graph_pass import Declined, Effect, GraphPass, Pass, Site
    from graphopt.surgery.graphsurgeon_pass import GraphSurgeonPass
    from graphopt.surgery.model_pass import Change, ModelPass, Outcome, Refusal
    from graphopt.surgery.report import (
        PassReport,
        RewriteError,
        RewriteReport,
        Samples,
        Status,
        Verification,
        Verify,
    )

__all__ = [
    "Change",
    "Declined",
    "Effect",
    "Expect",
    "GraphPass",
    "GraphSurgeonPass",
    "ModelPass",
    "OptionInfo",
    "Outcome",
    "Pass",
    "PassInfo",
    "PassReport",
    "PassStep",
    "Refusal",
    "RewriteError",
    "RewriteReport",
    "Samples",
    "Site",
    "Status",
    "Verification",
    "Verify",
    "catalogue_page",
    "describe_passes",
    "find_pass",
    "make_pass",
    "parse_steps",
    "pass_names",
    "rewrite_file",
]

# Steps are plain data and come at once; what imports onnx-ir comes when it is first asked for.
_MODULES = {
    "catalogue": ("OptionInfo", "PassInfo", "describe_passes", "find_pass", "make_pass", "pass_names"),
    "catalogue_markdown": ("catalogue_page",),
    "engine.rewriting": ("rewrite_file",),
    "graph_pass": ("Declined", "Effect", "GraphPass", "Pass", "Site"),
    "graphsurgeon_pass": ("GraphSurgeonPass",),
    "model_pass": ("Change", "ModelPass", "Outcome", "Refusal"),
    "report": ("PassReport", "RewriteError", "RewriteReport", "Samples", "Status", "Verification", "Verify"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"graphopt.surgery.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
