"""What a model makes of the choice among several classes, found by trying it.

A suppression of boxes [B, N, 4] and scores [B, C, N] answers with triples of places, class by class, and
every exporter sorts, pads and looks them up in its own way. What lies between it and the outputs is a
closed piece of the graph that reads nothing but boxes and scores: it is run on made-up candidates, many
and few, and must answer with what the operator would.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphopt.core.tensors import Array
from graphopt.surgery.detection.candidates import Candidates
from graphopt.surgery.detection.facts import Facts
from graphopt.surgery.detection.greedy import Floats, best_of_classes
from graphopt.surgery.detection.reasons import UnsuitableError
from graphopt.surgery.detection.results import BOXES, DETS, LABELS, SCORES, Result
from graphopt.surgery.graph_queries import graph_of

_TRIALS = ((2000, 0), (60, 6), (60, -12), (5, 0), (1, 0))
"""Candidates of a trial (more than models answer, some, fewer than there are rows for, one), and the power
of two by which their boxes are larger: a tail may clip boxes, or leave small ones out. Such factors change
no overlap."""
_FAINT = 1e-4
"""Of the way from the threshold to 1, the lowest score of a trial: a tail may have a threshold of its own."""
_IMAGE = 640.0
_WIDTHS = {DETS: 5, BOXES: 4, SCORES: 1, LABELS: 1}
_CLOSE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How a suppression chooses.

    Attributes:
        iou: boxes that overlap more than this are suppressed.
        above: candidates up to this score do not count.
        per_class: at most so many of a class; None is all.
    """

    iou: float
    above: float
    per_class: int | None


def try_results(
    nms: ir.Node, candidates: Candidates, limits: Limits, facts: Facts
) -> tuple[list[Result], int]:
    """Return the outputs that hold the choice, and how many rows they have at most.

    Raises:
        UnsuitableError: the outputs are not what the operator would answer, or read something else.
    """
    if limits.above < 0:
        raise UnsuitableError("candidates of negative scores count; the operator fills up with zeros")
    trial = _Trial(nms, candidates, limits, facts)
    answers = [trial.answer(*sizes) for sizes in _TRIALS]
    results = [_result(value, answers[0][value], candidates, facts) for value in trial.outputs]
    kinds = [result.kind for result in results]
    if len(set(kinds)) < len(kinds) or not {DETS, SCORES} & set(kinds):
        raise UnsuitableError("its outputs are no boxes, scores and labels of a batch")
    total = _limit(trial, [answers[0][result.value].shape[len(result.front)] for result in results])
    for sizes, answer in zip(_TRIALS, answers, strict=True):
        for image, expected in enumerate(trial.expected(*sizes)):
            tables = {
                result.kind: answer[result.value][image] if result.front else answer[result.value]
                for result in results
            }
            _check(_rows(tables, limits.above), expected[:total])
    return results, total


def _limit(trial: "_Trial", rows: list[int]) -> int:
    """Return how many rows there are at most, having seen those of the trial with the most candidates."""
    most = min(len(image) for image in trial.expected(*_TRIALS[0]))
    if len(set(rows)) > 1:
        raise UnsuitableError("its results hold different numbers of detections")
    if rows[0] < most or rows[0] == trial.bound:
        return rows[0]
    raise UnsuitableError("nothing limits the number of detections; the operator wants a limit")


class _Trial:
    """The piece of the graph behind boxes and scores, and candidates to run it on."""

    def __init__(self, nms: ir.Node, candidates: Candidates, limits: Limits, facts: Facts) -> None:
        self._candidates, self._limits, self._facts = candidates, limits, facts
        self.bound = candidates.classes * min(limits.per_class or candidates.count, candidates.count)
        """So many of all classes at most."""
        behind = readers_of(nms)
        self.outputs = [value for value in graph_of(nms).outputs if value.producer() in behind]
        self._nodes = self._needed(nms)

    def answer(self, count: int, power: int) -> dict[ir.Value, Array]:
        """Run the piece on as many candidates of each image, of boxes ``2 ** power`` times as large."""
        boxes, scores = self._made_up(count, power)
        if self._candidates.classes_first:
            scores = scores.transpose(0, 2, 1)
        given = {
            self._candidates.boxes: ir.Tensor(boxes.reshape(self._shape(self._candidates.boxes))),
            self._candidates.scores: ir.Tensor(
                np.ascontiguousarray(scores).reshape(self._shape(self._candidates.scores))
            ),
        }
        found = self._facts.run(self._nodes, self.outputs, given)
        if found is None:
            raise UnsuitableError("what is made of its choice does not run on made-up candidates")
        return found

    def expected(self, count: int, power: int) -> list[Floats]:
        """Return what the operator would answer for each image, without a limit."""
        pairs = zip(*self._made_up(count, power), strict=True)
        limits = self._limits
        return [best_of_classes(*pair, limits.iou, limits.above, limits.per_class) for pair in pairs]

    def _shape(self, value: ir.Value) -> tuple[int, ...]:
        shape = self._facts.static(value)
        if shape is None:
            raise UnsuitableError(f"the sizes of {value.name} are not known")
        return shape

    def _made_up(self, count: int, power: int) -> tuple[Floats, Floats]:
        chosen, above = self._candidates, self._limits.above
        rng = np.random.default_rng(count)
        least = 0 if chosen.are_positive else -_IMAGE / 8
        corners = rng.uniform(least, _IMAGE, (chosen.batch, chosen.count, 2))
        sizes = rng.uniform(10, 60, (chosen.batch, chosen.count, 2))
        boxes = np.concatenate((corners, corners + sizes), axis=2, dtype=np.float32) * np.float32(2.0**power)
        total = chosen.count * chosen.classes
        scores = np.full((chosen.batch, total), above, np.float32)
        for image in scores:
            places = rng.choice(total, min(count, total), replace=False)
            levels = 1 - np.arange(len(places)) / len(places)
            levels[-1] = _FAINT
            image[places] = above + levels * (1 - above if above < 1 else 1)
        return boxes, scores.reshape(chosen.batch, chosen.count, chosen.classes)

    def _needed(self, nms: ir.Node) -> list[ir.Node]:
        """Return the nodes between boxes, scores and the outputs, in order."""
        leaves = {self._candidates.boxes, self._candidates.scores}
        found: set[ir.Node] = set()
        pending = list(self.outputs)
        while pending:
            value = pending.pop()
            node = value.producer()
            if value in leaves or self._facts.tensor(value) is not None or node in found:
                continue
            if node is None or len(found) > len(graph_of(nms)) // 2 + 64:
                raise UnsuitableError(f"what is made of its choice also reads {value.name}")
            found.add(node)
            pending.extend(item for item in node.inputs if item is not None)
        return [node for node in graph_of(nms) if node in found]


def readers_of(nms: ir.Node) -> set[ir.Node]:
    """Return a node and all that depends on it."""
    found, pending = set[ir.Node](), [nms]
    while pending:
        node = pending.pop()
        if node not in found:
            found.add(node)
            pending.extend(user for value in node.outputs for user, _ in value.uses())
    return found


def _result(value: ir.Value, array: Array, candidates: Candidates, facts: Facts) -> Result:
    """Tell by sizes and dtype what an output holds: [B, M], [B, M, 4] or 5; without B for one image."""
    fronts = ((candidates.batch,), ()) if candidates.batch == 1 else ((candidates.batch,),)
    for front in fronts:
        sizes = array.shape[len(front) + 1 :]
        if array.shape[: len(front)] != front or array.ndim <= len(front):
            continue
        is_integer = array.dtype.kind in "iu"
        kind = {(5,): DETS, (4,): BOXES, (): LABELS if is_integer else SCORES, (1,): SCORES}.get(sizes)
        if kind is not None and is_integer == (kind == LABELS):
            dtype = facts.dtype(value) or ir.DataType.from_numpy(array.dtype)
            return Result(value=value, kind=kind, front=front, sizes=sizes, limit=None, dtype=dtype)
    raise UnsuitableError(f"the output {value.name} of shape {list(array.shape)} is no table of detections")


def _rows(tables: dict[str, Array], above: float) -> dict[str, Array]:
    """Return the rows of one image that are no padding, by score."""
    flat = {kind: array.reshape(-1, _WIDTHS[kind]) for kind, array in tables.items()}
    scores = np.asarray(flat[DETS][:, 4] if DETS in flat else flat[SCORES][:, 0], np.float32)
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > above]
    return {kind: array[order] for kind, array in flat.items()}


def _check(rows: dict[str, Array], expected: Floats) -> None:
    wanted = {
        DETS: expected[:, :5],
        BOXES: expected[:, :4],
        SCORES: expected[:, 4:5],
        LABELS: expected[:, 5:],
    }
    for kind, found in rows.items():
        if found.shape != wanted[kind].shape or not np.allclose(found, wanted[kind], atol=_CLOSE):
            raise UnsuitableError(
                f"its {kind} are not what the operator answers: tried on made-up candidates, it keeps "
                f"{len(found)} of {len(expected)} or other ones"
            )
