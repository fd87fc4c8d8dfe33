"""Every pass, alone and in random company, on random models: the numbers stay."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import onnx
import pytest

from graphopt.core.comparison import compare_outputs
from graphopt.core.errors import PreconditionError
from graphopt.core.onnx_files import from_proto, to_proto
from graphopt.core.samples import structured_feeds
from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.tensors import Array
from graphopt.surgery import find_pass, pass_names
from graphopt.surgery.engine.running import run_pass
from graphopt.surgery.engine.verdicts import combined_tolerance
from graphopt.surgery.graph_pass import Effect, Pass

RandomModel = Callable[..., onnx.ModelProto]
ELSEWHERE = ("cast_outputs", "simplify")  # other dtypes on purpose; a process of its own, seconds a run


def _passes() -> Iterator[Pass]:
    for name in pass_names():
        if name not in ELSEWHERE:
            try:
                yield find_pass(name)()
            except TypeError:
                continue  # it has options that must be given


def _run(proto: onnx.ModelProto) -> dict[str, Array]:
    onnx.checker.check_model(proto, full_check=True)
    with OnnxRuntimeSession(proto.SerializeToString(), threads=1) as session:
        return session.run(structured_feeds(session.inputs, seed=3))


def _is_finite(outputs: Mapping[str, Array]) -> bool:
    return all(np.isfinite(array).all() for array in outputs.values() if array.dtype.kind == "f")


def _rewritten(proto: onnx.ModelProto, passes: Sequence[Pass]) -> tuple[dict[str, str], onnx.ModelProto]:
    """Return which outputs to compare with which, and the model after the passes that apply."""
    model = from_proto(proto)
    names = {value.name or "": value.name or "" for value in model.graph.outputs}
    for item in passes:
        renamed = item.output_names(model)
        try:
            model, _ = run_pass(model, item)
        except PreconditionError:
            continue
        if renamed is not None:
            names = {now: names.get(then, then) for now, then in renamed.items()}
    return names, to_proto(model)


@pytest.mark.parametrize("seed", [*range(24), 1098, 1117, 1123, 1243])
def test_each_pass_alone_keeps_the_numbers(random_model: RandomModel, seed: int) -> None:
    proto = random_model(seed)
    expected = _run(proto)
    if not _is_finite(expected):
        return  # nothing could be said about it
    for item in _passes():
        try:
            model, report = run_pass(from_proto(proto), item)
        except PreconditionError:
            continue
        if not report.modified:
            continue
        names = item.output_names(from_proto(proto)) or {name: name for name in expected}
        wanted = {now: expected[then] for now, then in names.items()}
        failed = [
            found
            for found in compare_outputs(wanted, _run(to_proto(model)), item.tolerance)
            if not found.passed
        ]
        assert not failed, (item.name, failed)
        _, second = run_pass(model, item)
        assert not second.modified, (item.name, second.applied)


@pytest.mark.parametrize("seed", range(100, 124))
def test_passes_in_any_order_keep_the_numbers(random_model: RandomModel, seed: int) -> None:
    proto, rng = random_model(seed, size=24), np.random.default_rng(seed)
    expected = _run(proto)
    exact = [item for item in _passes() if item.effect is Effect.EXACT]
    chosen = [exact[int(i)] for i in rng.choice(len(exact), size=8, replace=False)]
    names, result = _rewritten(proto, chosen)
    if _is_finite(expected):
        wanted = {now: expected[then] for now, then in names.items()}
        compared = compare_outputs(wanted, _run(result), combined_tolerance(chosen))
        failed = [found for found in compared if not found.passed]
        assert not failed, ([item.name for item in chosen], failed)
