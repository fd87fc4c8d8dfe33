"""Write the file of a new recipe from a graph: what the graph says, and marked guesses for the rest."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from graphopt.core.errors import GraphoptError
from graphopt.core.files import check_output, output_errors, write_text
from graphopt.core.onnx_files import input_specs, load_model, output_specs
from graphopt.core.project_file import PROJECT_FILE
from graphopt.core.tensors import Dim, TensorSpec
from graphopt.core.words import counted
from graphopt.surgery import GraphPass, PassStep, RewriteReport, Verify, find_pass, parse_steps, rewrite_file
from graphopt.surgery.presets import PRESETS
from graphopt.surgery.scaffold.new_pass import add_to_project, check_name

_COLOURS = (1, 3)


@dataclass(frozen=True, kw_only=True)
class NewRecipe:
    """What was written.

    Attributes:
        files: the recipe, and the project file when it changed.
        passes: names of the passes in it.
        guesses: what was guessed, sentences.
        notes: what else to know.
        commands: what to type next.
    """

    files: tuple[Path, ...]
    passes: tuple[str, ...]
    guesses: tuple[str, ...]
    notes: tuple[str, ...]
    commands: tuple[str, ...]


def new_recipe(
    name: str,
    model: Path,
    folder: Path,
    *,
    taken: tuple[str, ...],
    force: bool = False,
    on_progress: Callable[[str], None] | None = None,
) -> NewRecipe:
    """Write ``NAME.py`` with a recipe for a graph.

    Args:
        name: of the recipe.
        model: ONNX file.
        folder: where the file goes; made when absent.
        taken: names of recipes that exist.
        force: replace an existing file.
        on_progress: told what is being done.

    Raises:
        UsageError: the name cannot be used.
        InvalidModelError: the model cannot be read.
        OutputError: the file exists, or cannot be written.
    """
    check_name(name, taken=taken, kind="recipe")
    place = folder / f"{name}.py"
    if folder.exists():
        check_output(place, force=force)
    say = on_progress or _silent
    graph = load_model(model)
    inputs, guesses = _with_layouts(input_specs(graph))
    outputs, roles = _with_roles(output_specs(graph))
    say("looking which passes match")
    clean = _in_turn(model)
    others = _others(model, say)
    text = "\n".join(_lines(name, model, inputs, outputs, clean, others)) + "\n"
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_text(place, text, force=force)
    note = add_to_project(folder, place.name)
    word = shlex.quote(str(place if place.is_absolute() else f"./{place}"))
    return NewRecipe(
        files=(place, *([] if note else [folder / PROJECT_FILE])),
        passes=tuple(step.name for step, _ in clean),
        guesses=(*guesses, *roles),
        notes=(note,) if note else (),
        commands=(f"graphopt recipes {word}", f"graphopt pipeline {word} --onnx {shlex.quote(str(model))}"),
    )


def _with_layouts(specs: Sequence[TensorSpec]) -> tuple[tuple[TensorSpec, ...], list[str]]:
    found, guesses = [], []
    for spec in specs:
        layout = ""
        if len(spec.shape) == 4 and spec.dtype in ("float32", "float16", "uint8"):
            layout = "NCHW" if spec.shape[1] in _COLOURS else "NHWC" if spec.shape[3] in _COLOURS else ""
        if layout:
            guesses.append(f"the layout of {spec.name} is {layout}, from its shape {spec.shape_text}")
        found.append(replace(spec, layout=layout))
    return tuple(found), guesses


def _with_roles(specs: Sequence[TensorSpec]) -> tuple[tuple[TensorSpec, ...], list[str]]:
    """Guess roles: boxes with scores beside class numbers are a detection, one picture is a mask."""
    boxes = [spec for spec in specs if _is_float(spec) and spec.shape and spec.shape[-1] == 5]
    numbers = [spec for spec in specs if spec.dtype in ("int64", "int32") and len(spec.shape) in (1, 2)]
    roles: dict[str, str] = {}
    if len(boxes) == 1 and len(numbers) == 1 and len(specs) == 2:
        roles = {boxes[0].name: "dets", numbers[0].name: "labels"}
    elif len(specs) == 1 and _is_float(specs[0]) and len(specs[0].shape) == 4:
        roles = {specs[0].name: "masks"}
    guesses = [f"the role of {name} is {role}, from dtypes and shapes" for name, role in roles.items()]
    return tuple(replace(spec, role=roles.get(spec.name, "")) for spec in specs), guesses


def _is_float(spec: TensorSpec) -> bool:
    return spec.dtype in ("float32", "float16")


def _in_turn(model: Path) -> list[tuple[PassStep, str]]:
    """Return the passes of the preset that change something, each after those before it."""
    steps = parse_steps(PRESETS["clean"])
    try:
        report = rewrite_file(model, None, steps, verify=Verify.OFF)
    except GraphoptError:
        return []
    return [(step, _said(report, i)) for i, step in enumerate(steps) if report.passes[i].applied]


def _said(report: RewriteReport, index: int) -> str:
    applied = report.passes[index].applied
    return f"{counted(len(applied), 'place')}, first {applied[0].node}: {applied[0].what}"


def _others(model: Path, say: Callable[[str], None]) -> list[tuple[str, str]]:
    """Return exact passes outside the preset that match the graph as it is, with what they would do."""
    from graphopt.surgery import Effect, Site, make_pass, pass_names

    preset = {step.name for step in parse_steps(PRESETS["clean"])}
    graph = load_model(model)
    found = []
    for name in pass_names():
        cls = find_pass(name)
        if name in preset or cls.effect is not Effect.EXACT or not issubclass(cls, GraphPass):
            continue
        say(f"looking whether {name} matches")
        try:
            item = make_pass(PassStep(name))
            assert isinstance(item, GraphPass)
            sites = [place for place in item.sites(graph) if isinstance(place, Site)]
        except GraphoptError:  # it needs options, or another kind of model
            continue
        if sites:
            found.append((name, f"{counted(len(sites), 'place')}, first: {sites[0].what}"))
    return found


def _lines(
    name: str,
    model: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    clean: Sequence[tuple[PassStep, str]],
    others: Sequence[tuple[str, str]],
) -> Iterator[str]:
    yield f'"""{name}: a recipe begun from {model.name}. What was guessed says so; correct it."""'
    yield ""
    yield "from graphopt.core.comparison import Tolerance"
    yield "from graphopt.core.preprocessing import DecodePil, Normalize, ResizePil, ScaleToUnit, ToNchw"
    yield "from graphopt.core.tensors import TensorSpec"
    yield "from graphopt.recipes.recipe import Recipe"
    yield "from graphopt.surgery import PassStep"
    yield ""
    yield "RECIPE = Recipe("
    yield f'    name="{name}",'
    yield f'    title="{name}: say in one line what the model does",'
    for word, specs in (("inputs", inputs), ("outputs", outputs)):
        yield f"    {word}=("
        for spec in specs:
            yield from _spec(spec)
        yield "    ),"
    yield from _preprocessing(inputs)
    yield "    passes=("
    for step, said in clean:
        yield f'        PassStep("{step.name}"),  # {_short(said)}'
    if others:
        yield "        # These match too, and change no number; take what your target needs:"
        for other, said in others:
            yield f'        # PassStep("{other}"),  # {_short(said)}'
    yield "    ),"
    yield "    # Guessed: float32 sums in another order. The pipeline's table shows the errors that you have."
    yield '    tolerance=Tolerance(atol=1e-4, rtol=1e-4, peak=1e-5, why="guessed for float32"),'
    if inputs and inputs[0].layout == "NCHW":
        yield '    atc={"input_format": "NCHW", "log": "error"},'
    yield "    # Not needed for pipeline --onnx; add it when you have it, as the recipes of graphopt do:"
    yield "    # build=, load=   the torch module and how it reads a checkpoint: for export, --checkpoint"
    yield "    # task=           data set and metric: for --data and evaluate"
    yield "    # make_demo=      a seeded checkpoint and data set: for --demo"
    yield "    # batch_sizes=    of the om files to make, such as (1, 4, 8)"
    yield ")"


def _spec(spec: TensorSpec) -> Iterator[str]:
    yield "        TensorSpec("
    yield f"            name={_quoted(spec.name)},"
    yield f"            shape={_shape(spec.shape)},"
    yield f"            dtype={_quoted(spec.dtype)},"
    if spec.layout:
        yield f"            layout={_quoted(spec.layout)},  # guessed from the shape"
    if spec.role:
        yield f"            role={_quoted(spec.role)},  # guessed from dtypes and shapes"
    yield "        ),"


def _preprocessing(inputs: Sequence[TensorSpec]) -> Iterator[str]:
    size = inputs[0].shape[2:] if inputs and inputs[0].layout == "NCHW" else (None, None)
    height, width = (dim if isinstance(dim, int) else "..." for dim in size)
    yield "    # From an image file to one input; guessed, so switched off. Needed for --data, run, prepare."
    yield "    preprocessing=("
    yield '        # DecodePil(colour="RGB"),'
    yield f"        # ResizePil(width={width}, height={height}),"
    yield "        # ScaleToUnit(),"
    yield "        # Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),"
    yield "        # ToNchw(),"
    yield "    ),"


def _shape(shape: Sequence[Dim]) -> str:
    items = [_quoted(dim) if isinstance(dim, str) else str(dim) for dim in shape]
    return f"({', '.join(items)}{',' if len(items) == 1 else ''})"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _silent(line: str) -> None:
    del line
