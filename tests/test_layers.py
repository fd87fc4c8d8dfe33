"""The arrows of docs/architecture.md, read from the imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("surgery", "exporters", "compile", "validate", "runtime")
LEVELS = {"core": 0, **dict.fromkeys(PARTS, 1), "recipes": 2, "cli": 3}
HEAVY = ("torch", "mmdet", "mmcv", "openvino", "ray", "acl", "onnxsim", "onnxslim", "onnxscript")


def layers() -> Iterator[tuple[str, Path]]:
    for part in PARTS:
        yield part, ROOT / part
    for name in ("core", "recipes", "cli"):
        yield name, ROOT / "src" / "graphopt" / name


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(("layer", "folder"), list(layers()), ids=lambda item: str(item).rpartition("/")[2])
def test_imports_point_one_way(layer: str, folder: Path) -> None:
    files = sorted(folder.rglob("*.py"))
    assert files
    wrong = []
    for path in files:
        for name in imported(ast.parse(path.read_text(encoding="utf-8"))):
            package, _, rest = name.partition(".")
            other = rest.partition(".")[0]
            if package != "graphopt" or other not in LEVELS or other == layer:
                continue
            if LEVELS[other] >= LEVELS[layer]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_heavy_packages_are_imported_inside_functions_only() -> None:
    wrong = []
    for _, folder in layers():
        for path in sorted(folder.rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            wrong += [
                f"{path.relative_to(ROOT)} imports {name} at the top"
                for node in tree.body
                for name in imported(node)
                if isinstance(node, (ast.Import, ast.ImportFrom)) and name.partition(".")[0] in HEAVY
            ]
    networks = str(Path("exporters") / "models")  # a network's classes need their base class
    assert [line for line in wrong if networks not in line] == []


def test_library_code_does_not_print_or_exit() -> None:
    programs = ("device_runner.py", "child.py")  # started by themselves
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node.func)}"
        for layer, folder in layers()
        if layer != "cli"
        for path in sorted(folder.rglob("*.py"))
        if path.name not in programs
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.exit", "exit")
    ]
    assert wrong == []
