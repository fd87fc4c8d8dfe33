"""The pipeline's rows of half precision: what a chip would answer, estimated from the rewritten model."""

from collections.abc import Callable
from pathlib import Path

from graphopt.core.errors import GraphoptError
from graphopt.core.onnx_files import load_model
from graphopt.core.operators import at_home
from graphopt.recipes.half_estimate import ESTIMATE_NOTES
from graphopt.recipes.scoring import Scored, Scorer
from graphopt.recipes.stages import parse_stage
from graphopt.validate.half_precision import SUPPRESSIONS


def score_estimates(scorer: Scorer, model: Path, note: Callable[[str], None]) -> list[Scored]:
    """Run the estimates that make sense for a model.

    An estimate that cannot be made is a note, not the end of the run.

    Args:
        scorer: of the run.
        model: ONNX file; one with a suppression inside gets a second row, rounded only there.
        note: takes a sentence for the report.
    """
    nodes = list(load_model(model).graph.all_nodes())
    suppresses = any(node.op_type in SUPPRESSIONS for node in nodes)
    whole = sorted({node.op_type for node in nodes if at_home(node) is not None})
    inside = f"; inside {', '.join(whole)} float32" if whole else ""
    scored = []
    for kind in ("fp16", "fp16-nms") if suppresses else ("fp16",):
        stage = parse_stage(f"{kind}:{model}", recipe_name=scorer.recipe.name)
        try:
            found = scorer.run(kind, stage, file=model, made=None, note=ESTIMATE_NOTES[kind] + inside)
        except GraphoptError as error:
            note(f"{kind} was not estimated: {error}")
            continue
        scored.append(found)
    return scored
