"""onnx-ir starts without sympy, and has it when it needs it."""

import subprocess
import sys


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_onnx_ir_starts_without_sympy() -> None:
    assert run("import sys, graphopt, onnx_ir; print('sympy.core' in sys.modules)") == "False"


def test_symbolic_sizes_are_computed_as_without_graphopt() -> None:
    code = "import onnx_ir as ir; print(((ir.SymbolicDim('n + 2') * 3) // 2).evaluate({'n': 4}), end=' ');"
    code += "print(ir.SymbolicDim('max(a, b) - 1') + 5, ir.Shape(['n', 3])[0] == 'n')"
    assert run(f"import graphopt; {code}") == run(code)


def test_sympy_itself_is_whole_whoever_imports_it() -> None:
    code = "import sympy; from sympy.core import Integer; print(sympy.simplify('x + x'), Integer(3))"
    assert run(f"import graphopt, onnx_ir; {code}") == run(code)


def test_sympy_that_is_there_already_stays() -> None:
    code = "import sympy; before = sympy.Expr; import graphopt, onnx_ir; print(sympy.Expr is before)"
    assert run(code) == "True"


def test_an_import_by_others_is_not_made_lazy() -> None:
    assert run("import graphopt, sys, sympy; print('sympy.core' in sys.modules)") == "True"
