"""Check a call of ATC before anything runs."""

from collections.abc import Iterator
from pathlib import Path

from graphopt.compile.atc import graph_rules, option_rules, profile_rules, shape_rules
from graphopt.compile.atc.graph_rules import LAST_IR_VERSION
from graphopt.compile.atc.invocation import AtcInvocation
from graphopt.compile.atc.rules import Rule, Violation
from graphopt.compile.atc.soc import has_fp32_matrix_unit, soc_note
from graphopt.compile.graph_facts import GraphFacts
from graphopt.core.errors import UsageError

ALL_RULES: tuple[Rule, ...] = (
    *shape_rules.RULES,
    *profile_rules.RULES,
    *option_rules.RULES,
    *graph_rules.RULES,
)
_LARGEST_USUAL_BATCH = 2048


def violations(call: AtcInvocation, graph: GraphFacts, *, folder: Path) -> tuple[Violation, ...]:
    """Return every rule that ``call`` breaks on ``graph``.

    Args:
        call: with paths as they are valid here.
        graph: of the call's model.
        folder: where ATC will run; the characters of paths matter as they are seen from there.
    """
    seen = call.seen_from(folder)
    return (
        *(violation for rule in ALL_RULES for violation in rule(call, graph)),
        *option_rules.paths_have_plain_characters(seen),
    )


def check_call(call: AtcInvocation, graph: GraphFacts, *, folder: Path) -> None:
    """Raise ``UsageError`` with all broken rules and their remedies, unless there are none."""
    found = violations(call, graph, folder=folder)
    if found:
        raise UsageError(f"ATC would refuse {call.model.name}:\n" + "\n".join(f"  {item}" for item in found))


def notes(call: AtcInvocation, graph: GraphFacts) -> tuple[str, ...]:
    """Return warnings that do not stop a call, whole sentences."""
    return (*_graph_notes(graph), *_option_notes(call))


def _graph_notes(graph: GraphFacts) -> Iterator[str]:
    opset = graph.opsets.get("", 0)
    if opset > 15:
        yield f"Opset {opset} needs CANN 7.0 or newer; opset 11 works with every release."
    elif opset > 13:
        yield f"Opset {opset} needs CANN 6.0 or newer; opset 11 works with every release."
    elif 0 < opset < 11:
        yield f"Opset {opset} is below 11, the lowest that the newest CANN documents name."
    if graph.ir_version > LAST_IR_VERSION:
        yield (
            f"The file has IR version {graph.ir_version}; ATC is built with a schema up to {LAST_IR_VERSION} "
            f"and is unproven beyond it. Save the device file with IR version {LAST_IR_VERSION} or lower."
        )
    foreign = sorted(name for name in graph.op_types if "::" in name)
    if foreign:
        yield f"Operators outside the standard need a custom operator package: {', '.join(foreign)}."


def _option_notes(call: AtcInvocation) -> Iterator[str]:
    note = soc_note(call.soc_version)
    if note:
        yield note
    precision = call.precision_mode or call.precision_mode_v2
    if precision in ("force_fp32", "cube_fp16in_fp32out", "must_keep_origin_dtype", "origin"):
        if not has_fp32_matrix_unit(call.soc_version):
            yield (
                f"{precision} does not make Conv and MatMul float32 on {call.soc_version}: its matrix unit "
                "takes fp16 inputs only."
            )
        if precision in ("must_keep_origin_dtype", "origin") and "keep_dtype" in call.extra:
            yield f"keep_dtype has no effect under {precision}."
    if "op_select_implmode" in call.extra:
        yield "op_select_implmode is deprecated; op_precision_mode takes its place."
    if "input_shape_range" in call.extra:
        yield "input_shape_range is deprecated; write ranges such as 1~8 in input_shape."
    large = [size for size in call.dynamic_batch_size if size > _LARGEST_USUAL_BATCH]
    if large:
        yield f"Batch {large} is beyond {_LARGEST_USUAL_BATCH}, the largest that the documents suggest."
    if call.insert_op_conf is not None:
        yield "With AIPP the input of the om is uint8 NHWC, whatever the ONNX file says."
