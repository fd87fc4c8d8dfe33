"""The commands that are compared; ``IN`` and ``OUT`` stand for the files."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

REFERENCE = "onnxsim"

_LOAD = "import sys, onnx\n"
# A model beyond protobuf's 2 GB is saved as each library can; a smaller one as everybody does.
_SAVE = """
def save(model, path):
    large = sum(t.ByteSize() for t in model.graph.initializer) > (1 << 31) - (1 << 20)
    onnx.save(model, path, save_as_external_data=large, location='out.data')
"""
_ONNXSIM = f"""{_LOAD}import onnxsim
{_SAVE}
model, fine = onnxsim.simplify(onnx.load(sys.argv[1]))
assert fine
save(model, sys.argv[2])
"""
_ONNXSCRIPT = f"""{_LOAD}import onnxscript.optimizer
{_SAVE}
save(onnxscript.optimizer.optimize(onnx.load(sys.argv[1])), sys.argv[2])
"""
_GRAPHSURGEON = f"""{_LOAD}import onnx_graphsurgeon
{_SAVE}
graph = onnx_graphsurgeon.import_onnx(onnx.load(sys.argv[1]))
graph.fold_constants().cleanup().toposort()
save(onnx_graphsurgeon.export_onnx(graph), sys.argv[2])
"""


@dataclass(frozen=True)
class Tool:
    """One way to simplify a file.

    Attributes:
        name: in the table.
        command: arguments; the first is the interpreter.
        needs: a package that must be importable; empty for none.
    """

    name: str
    command: Sequence[str]
    needs: str = ""


def tools() -> list[Tool]:
    """Return the tools to compare; the reference of the ratios is among them."""
    python = sys.executable
    apply = [python, "-m", "graphopt", "apply", "IN", "-o", "OUT", "--preset", "clean"]
    return [
        Tool("graphopt, --verify off", [*apply, "--verify", "off"]),
        Tool("graphopt", [*apply, "--allow-unproven"]),
        Tool(REFERENCE, [python, "-c", _ONNXSIM, "IN", "OUT"], needs="onnxsim"),
        Tool("OnnxSlim", [python, "-m", "onnxslim", "IN", "OUT"], needs="onnxslim"),
        Tool("onnxscript optimizer", [python, "-c", _ONNXSCRIPT, "IN", "OUT"], needs="onnxscript"),
        Tool(
            "graphsurgeon fold + cleanup",
            [python, "-c", _GRAPHSURGEON, "IN", "OUT"],
            needs="onnx_graphsurgeon",
        ),
    ]
