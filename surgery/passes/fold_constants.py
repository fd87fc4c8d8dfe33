"""The pass ``fold_constants``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.folding.constant_folding import ConstantFolder, FoldSite
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import constant_tensor, is_function_body, nodes_of


@dataclass(frozen=True, kw_only=True)
class FoldConstants(GraphPass):
    """Replace nodes whose inputs are all constants by their results.

    Why: exporters leave arithmetic on constants in the graph; a device repeats it for every image,
    and compilers that want constant pads, sizes or weights refuse computed ones.
    Before: ``Constant -> Cast -> Mul(2) -> Reshape(x, .)``.
    After: ``Reshape(x, initializer)``; lone ``Constant`` nodes become initializers too.
    Seen in: deepmar_bs1, skip_decoder.
    Known as: big-constant cleanup (43).

    Attributes:
        max_bytes: a node is left alone when its result is larger by more than this than the
            constants that disappear with it.
    """

    name: ClassVar[str] = "fold_constants"

    max_bytes: int = 1 << 20

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield what can be computed now; see ``GraphPass.sites``."""
        folder = ConstantFolder(model=model, max_bytes=self.max_bytes, everywhere=True)
        folder.fold()
        yield from folder.sites()
        for node in nodes_of(model, "Constant"):
            if _can_be_initializer(model, node) and not _only_feeds_folded(node, folder):
                yield _initializer_site(node)
        for node, reason in folder.refused.items():
            yield Declined(node=node, why=reason)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Put the computed tensors in place of the node's outputs."""
        if isinstance(site, FoldSite):
            site.apply(model)


def _can_be_initializer(model: ir.Model, node: ir.Node) -> bool:
    graph, output = node.graph, node.outputs[0]
    if graph is None or output.is_graph_output() or is_function_body(model, graph):
        return False
    return constant_tensor(output) is not None


def _only_feeds_folded(node: ir.Node, folder: ConstantFolder) -> bool:
    return all(folder.is_folded(user) for user, _ in node.outputs[0].uses())


def _initializer_site(node: ir.Node) -> FoldSite:
    output = node.outputs[0]
    tensor = constant_tensor(output)
    if tensor is None:
        raise ValueError(f"{output.name} is not constant")
    return FoldSite(node=node, what=f"{output.name} becomes an initializer", tensors={output: tensor})
