"""What the rule of an operator may ask about a node that the batch reaches."""

from typing import Protocol

import onnx_ir as ir

Shape = tuple[int, ...]


class Mixed(Exception):
    """A node whose result for one sample depends on the size of the batch; says why, as a clause."""


class BatchedNode(Protocol):
    """What a rule may ask about the node it judges."""

    @property
    def node(self) -> ir.Node:
        """The node itself."""

    @property
    def opset(self) -> int:
        """Version of the standard operators."""

    @property
    def old_batch(self) -> int:
        """Samples per run before the change."""

    def axis(self, index: int) -> int | None:
        """Return the batch axis of an input; None when the batch does not reach it."""

    def shape(self, index: int) -> Shape:
        """Return the shape of an input before the change."""

    def new_shape(self, index: int) -> Shape:
        """Return the shape of an input after the change."""

    def output_shape(self) -> Shape:
        """Return the shape of the first output before the change."""

    def scaled(self, shape: Shape, axis: int) -> Shape:
        """Return ``shape`` with the size at ``axis`` multiplied as the batch is."""

    def ints(self, index: int, attribute: str = "") -> list[int] | None:
        """Return a parameter from an input or, in old opsets, an attribute; None when left out.

        Raises:
            Mixed: it is computed from data, or from the size of the batch.
        """

    def sizes(self, index: int) -> tuple[list[int], list[int], bool]:
        """Return a size parameter before and after the change, and whether it is a constant.

        Raises:
            Mixed: it is computed from data.
        """

    def fix(self, index: int, values: list[int]) -> None:
        """Replace a constant size parameter when the batch is changed."""

    def repeat(self, index: int, axis: int) -> None:
        """Give an input that is the same for all samples one copy per sample when the batch is changed.

        Raises:
            Mixed: it holds something else along that axis than one copy per sample.
        """


def batch_of_first_input(view: BatchedNode) -> int:
    """Return the batch axis of input 0.

    Raises:
        Mixed: it has none, or another input has one.
    """
    axis = view.axis(0)
    if axis is None or any(view.axis(index) is not None for index in range(1, len(view.node.inputs))):
        raise Mixed("the batch reaches an input other than its first")
    return axis


def stay_apart(view: BatchedNode, axis: int, batch: int) -> int:
    """Return ``batch`` unless the node works along that axis.

    Raises:
        Mixed: ``axis`` is the batch.
    """
    if axis % len(view.shape(0)) == batch:
        raise Mixed(f"it works along the batch axis {batch}")
    return batch
