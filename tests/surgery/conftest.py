"""Models to rewrite and passes that are right or wrong on purpose."""

import contextlib
import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from graphopt.core import child
from graphopt.core.onnx_files import write_model
from graphopt.surgery import find_pass, pass_names
from graphopt.surgery.engine.walking import all_graphs
from graphopt.surgery.graph_pass import Declined, GraphPass, Pass, Site
from graphopt.surgery.options import typed_options

CHAIN = """
<ir_version: 8, opset_import: ["" : 13], producer_name: "pytorch", producer_version: "1.6">
chain (float[1,3,6,6] x) => (float[1,3,6,6] y, float[1,3,6,6] z)
<float[3,3,1,1] weight = {0.5,0.1,0.2,0.3,0.4,0.1,0.2,0.6,0.7}, float two = {2}>
{
    [first] a = Identity (x)
    [conv] b = Conv (a, weight)
    [second] c = Identity (b)
    [scale] d = Mul (c, two)
    [third] e = Identity (d)
    [relu] y = Relu (e)
    [fourth] f = Identity (e)
    [sigmoid] z = Sigmoid (f)
}
"""


def _bypass(node: ir.Node) -> None:
    graph = node.graph
    assert graph is not None
    assert node.inputs[0] is not None
    node.outputs[0].replace_all_uses_with(node.inputs[0])
    graph.remove(node, safe=True)


@dataclass(frozen=True, kw_only=True)
class DropIdentity(GraphPass):
    """Remove one Identity, or all when no node is named."""

    name: ClassVar[str] = "drop_identity"
    node: str = ""

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        for graph in all_graphs(model):
            for node in graph:
                if node.op_type != "Identity" or self.node not in ("", node.name):
                    continue
                if node.outputs[0].is_graph_output():
                    yield Declined(node=node, why="it makes an output")
                else:
                    yield Site(node=node, what="removed")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        _bypass(site.node)


@dataclass(frozen=True, kw_only=True)
class ChangeConstant(GraphPass):
    """Replace the constant factor of the Mul; wrong unless it is two."""

    name: ClassVar[str] = "change_constant"
    value: float = 2.02

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        for node in model.graph:
            if node.op_type == "Mul" and node.inputs[1] is not None:
                constant = node.inputs[1].const_value
                assert constant is not None
                if float(constant.numpy()) == 2.0:
                    yield Site(node=node, what=f"2 -> {self.value}")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        tensor = ir.tensor(np.array(self.value, dtype=np.float32), name="other_factor")
        value = ir.Value(name="other_factor", const_value=tensor, type=ir.TensorType(ir.DataType.FLOAT))
        value.shape = ir.Shape([])
        model.graph.initializers["other_factor"] = value
        site.node.replace_input_with(1, value)


@dataclass(frozen=True, kw_only=True)
class LoseOutput(GraphPass):
    """Drop the last output without saying so."""

    name: ClassVar[str] = "lose_output"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        if len(model.graph.outputs) > 1:
            producer = model.graph.outputs[-1].producer()
            assert producer is not None
            yield Site(node=producer, what="output dropped")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        model.graph.outputs.pop()


HERE = Path(__file__).parent


def load_file(path: Path) -> ModuleType:
    """Import a file by its path; no folder of tests is a package."""
    spec = importlib.util.spec_from_file_location(f"by_path_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True, kw_only=True)
class PassCase:
    """What the test module of a pass says about it, as module constants that are all optional.

    Attributes:
        name: of the pass.
        suitable: ``SUITABLE``, what it rewrites: nodes that make ``y`` from ``{x}``, float[1,4]; or a
            whole model when it starts with ``<``.
        no_suitable: ``NO_SUITABLE``, why there is none.
        no_nested: ``NO_NESTED``, why it does not fire in subgraphs.
        inner_change: ``INNER_CHANGE``, why inner tensors keep their names although their numbers change.
        unrelated: ``UNRELATED``, a model to leave untouched, where the usual ones would be changed.
        required: ``REQUIRED``, options that must be given; the unrelated model is then as wanted.
        prepare: ``PREPARE``, passes to run before it on an exported graph.
        options: ``OPTIONS``, by exported graph, in place of ``REQUIRED``.
        newest: ``NEWEST_OPSET``, the last in which onnxruntime runs the suitable model.
    """

    name: str
    suitable: str
    no_suitable: str
    no_nested: str
    inner_change: str
    unrelated: str
    required: Mapping[str, Any]
    prepare: str
    options: Mapping[str, Mapping[str, Any]]
    newest: int

    def make(self) -> Pass:
        """Build the pass with its required options."""
        cls = find_pass(self.name)
        return cls(**typed_options(self.name, cls, self.required))

    def variant(self, place: str) -> onnx.ModelProto | None:
        """Return the suitable model, or the same nodes in another place or opset; None when there is none.

        In ``main`` and ``subgraph`` a pass must change something; elsewhere it need only stay correct.
        """
        text = self.suitable
        if not text.startswith("<"):
            text = (
                '<ir_version: 8, opset_import: ["" : 13]> g (float[1,4] x) => (float[1,4] z)'
                f" {{ {text.format(x='x')} z = Neg (y) }}"
            )
        main = onnx.parser.parse_model(text)
        if place.startswith("opset "):
            version = int(place.removeprefix("opset "))
            return _converted(main, version) if version <= self.newest else None
        if place == "subgraph" and self.no_nested:
            return None
        places = {"subgraph": _nested, "initializers": _with_initializers, "function": _called}
        return places[place](main) if place in places else main


@pytest.fixture
def random_model() -> Callable[..., onnx.ModelProto]:
    """``random_model`` of ``random_graphs.py``."""
    found: Callable[..., onnx.ModelProto] = load_file(HERE / "random_graphs.py").random_model
    return found


@functools.cache
def pass_case(name: str) -> PassCase:
    """Read the constants of ``test_<name>.py``."""
    path = next(HERE.rglob(f"test_{name}.py"), None)
    assert path is not None, f"tests/surgery/passes/test_{name}.py is missing"
    module = load_file(path)
    return PassCase(
        name=name,
        suitable=getattr(module, "SUITABLE", "").strip(),
        no_suitable=getattr(module, "NO_SUITABLE", ""),
        no_nested=getattr(module, "NO_NESTED", ""),
        inner_change=getattr(module, "INNER_CHANGE", ""),
        unrelated=getattr(module, "UNRELATED", ""),
        required=getattr(module, "REQUIRED", {}),
        prepare=getattr(module, "PREPARE", ""),
        options=getattr(module, "OPTIONS", {}),
        newest=getattr(module, "NEWEST_OPSET", 99),
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give tests that ask for ``case`` every pass, for ``suitable_case`` those with a suitable model."""
    for argument in {"case", "suitable_case"} & set(metafunc.fixturenames):
        cases = [pass_case(name) for name in pass_names()]
        chosen = [case for case in cases if case.suitable or argument == "case"]
        metafunc.parametrize(argument, chosen, ids=[case.name for case in chosen])


def _converted(main: onnx.ModelProto, version: int) -> onnx.ModelProto | None:
    if main.opset_import[0].version >= version:
        return None
    return onnx.version_converter.convert_version(main, version)


def _nested(main: onnx.ModelProto) -> onnx.ModelProto:
    """Put the graph into both branches of an If; they read the inputs of the outer graph."""
    model = onnx.ModelProto()
    model.CopyFrom(main)
    kept = {value.name for value in main.graph.input}
    branches = [_renamed(main.graph, prefix, kept) for prefix in ("then_", "else_")]
    for branch in branches:
        del branch.input[:]
    outputs = [value.name for value in main.graph.output]
    flag = onnx.helper.make_tensor_value_info("which_branch", onnx.TensorProto.BOOL, [])
    choice = onnx.helper.make_node(
        "If", [flag.name], outputs, "choice", then_branch=branches[0], else_branch=branches[1]
    )
    for field in ("node", "initializer", "value_info"):
        model.graph.ClearField(field)
    model.graph.input.insert(0, flag)
    model.graph.node.append(choice)
    return model


def _renamed(graph: onnx.GraphProto, prefix: str, kept: set[str]) -> onnx.GraphProto:
    """Copy a graph; every name but those in ``kept`` gets a prefix."""

    def new(name: str) -> str:
        return name if name in kept or not name else f"{prefix}{name}"

    result = onnx.GraphProto()
    result.CopyFrom(graph)
    result.ClearField("value_info")
    result.name = new(result.name)
    for named in (*result.input, *result.output, *result.initializer):
        named.name = new(named.name)
    for node in result.node:
        node.name = new(node.name)
        node.input[:] = map(new, node.input)
        node.output[:] = map(new, node.output)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                attribute.g.CopyFrom(_renamed(attribute.g, prefix, kept))
    return result


def _with_initializers(main: onnx.ModelProto) -> onnx.ModelProto:
    """Turn Constant nodes of the main graph into initializers."""
    model = onnx.ModelProto()
    model.CopyFrom(main)
    model.graph.ClearField("node")
    for node in main.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = model.graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
        else:
            model.graph.node.append(node)
    return model


def _called(main: onnx.ModelProto) -> onnx.ModelProto:
    """Put the graph into a model-local function, initializers as Constant nodes, and call it."""
    model = onnx.ModelProto()
    model.CopyFrom(main)
    for field in ("node", "initializer", "value_info"):
        model.graph.ClearField(field)
    constants = [
        onnx.helper.make_node("Constant", [], [tensor.name], value=tensor)
        for tensor in main.graph.initializer
    ]
    inputs, outputs = ([value.name for value in ends] for ends in (main.graph.input, main.graph.output))
    body = onnx.helper.make_function(
        "test.local", "Body", inputs, outputs, [*constants, *main.graph.node], main.opset_import
    )
    model.functions.append(body)
    model.opset_import.append(onnx.helper.make_opsetid("test.local", 1))
    model.graph.node.append(onnx.helper.make_node("Body", inputs, outputs, "call", domain="test.local"))
    model.ir_version = max(model.ir_version, 8)
    return model


@pytest.fixture(autouse=True)
def _children_in_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Save a second per rewrite: children are tested in core, and here with the real graphs."""

    def call(function: Callable[..., Any], /, *args: Any, **limits: Any) -> Any:
        return function(*args)

    @contextlib.contextmanager
    def started(*modules: str) -> Iterator[None]:
        yield None

    if request.node.get_closest_marker("shared") is None:
        monkeypatch.setattr(child, "call", call)
        monkeypatch.setattr(child, "started", started)


@pytest.fixture
def chain(tmp_path: Path, write_text: Callable[[str, str], Path]) -> Path:
    """Four Identity nodes, a Conv, a Mul by two, two outputs; "made by pytorch 1.6"."""
    return write_text(CHAIN, "chain.onnx")


@pytest.fixture
def write_text(tmp_path: Path) -> Callable[[str, str], Path]:
    """A function that writes a model given as ONNX text."""

    def write(text: str, name: str) -> Path:
        path = tmp_path / name
        onnx.save(onnx.parser.parse_model(text), path)
        return path

    return write


@pytest.fixture
def write_ir(tmp_path: Path) -> Callable[[ir.Model, str], Path]:
    """A function that writes a model in memory."""

    def write(model: ir.Model, name: str) -> Path:
        write_model(model, tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def planted() -> Any:
    """The passes above and what they are made of."""
    return SimpleNamespace(
        DropIdentity=DropIdentity,
        ChangeConstant=ChangeConstant,
        LoseOutput=LoseOutput,
        bypass=_bypass,
        chain_text=CHAIN,
    )


@pytest.fixture(scope="session")
def import_file() -> Callable[[Path], ModuleType]:
    """``load_file``."""
    return load_file


@pytest.fixture
def pass_case_of() -> Callable[[str], PassCase]:
    """``pass_case``."""
    return pass_case
