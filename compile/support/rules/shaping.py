"""Constants, shapes that a graph computes, products by equation."""

from collections.abc import Iterator

from graphopt.compile.support.place import Place, Rules
from graphopt.compile.support.verdicts import Finding, restricted, unsupported

_EQUATIONS = """
abc,cde->abde abcd,aecd->aceb abcd,adbe->acbe abcd,cde->abe abc,cd->abd abc,dc->abd abc,abd->dc abc,dec->abde
abc,abde->dec abcd,aecd->acbe abcd,acbe->aecd abcd,ecd->abe abcd,abe->ecd abcd,acbe->adbe abcd,abde->abce
abcd,abce->abde abcd,aebd->aebc abcd,abce->acde abc,abd->acd ab,cb->ac"""
"""Those of the documents (DOC); letters stand for any."""


def constant_is_a_tensor(place: Place) -> Iterator[Finding]:
    """Of Constant only ``value`` is read."""
    for name in place.node.attributes:
        if name != "value":
            yield unsupported("constant_form", f"it holds {name}; only value is read", "GE")


def shape_is_constant(place: Place) -> Iterator[Finding]:
    """A computed shape makes the model dynamic."""
    if place.is_computed(1):
        yield restricted("computed_size", "its size is computed in the graph; it should be constant", "DOC")


def filled_shape_is_real(place: Place) -> Iterator[Finding]:
    """ConstantOfShape: sizes above zero, one to eight axes."""
    if place.is_computed(0):
        yield restricted("computed_size", "its size is computed in the graph; it should be constant", "DOC")
    sizes = place.array(0)
    if sizes is not None and (not 1 <= sizes.size <= 8 or int(sizes.min()) < 1):
        text = "x".join(map(str, sizes.tolist())) or "no axes"
        yield restricted("fill_shape", f"its shape is {text}; documents want 1 to 8 axes above 0", "DOC")


def nothing_is_empty(place: Place) -> Iterator[Finding]:
    """Concat stumbles over inputs without elements."""
    for index in range(len(place.node.inputs)):
        if 0 in (place.shape(index) or ()):
            yield restricted("empty_input", "an input has no elements; ATC may stop there", "MSIT")
            return


def equation_is_known(place: Place) -> Iterator[Finding]:
    """Einsum: two inputs, and one of the twenty equations that documents list."""
    if len(place.node.inputs) != 2:
        yield restricted("einsum", f"{len(place.node.inputs)} inputs; documents name two", "DOC")
        return
    equation = place.text("equation").replace(" ", "")
    if _canonical(equation) not in map(_canonical, _EQUATIONS.split()):
        yield restricted("einsum", f"equation {equation} is none of those that documents list", "DOC")


def _canonical(equation: str) -> str:
    names: dict[str, str] = {}
    for letter in equation:
        if letter.isalpha() and letter not in names:
            names[letter] = chr(ord("a") + len(names))
    return "".join(names.get(letter, letter) for letter in equation)


RULES: Rules = {
    "Constant": (constant_is_a_tensor,),
    "ConstantOfShape": (filled_shape_is_real,),
    "Expand": (shape_is_constant,),
    "Tile": (shape_is_constant,),
    "Reshape": (shape_is_constant,),
    "Concat": (nothing_is_empty,),
    "Einsum": (equation_is_known,),
}
