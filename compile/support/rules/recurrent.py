"""LSTM and GRU: the plugins read hidden_size and direction, and nothing else."""

from collections.abc import Iterator

from graphopt.compile.support.place import Place, Rules
from graphopt.compile.support.verdicts import Finding, restricted, unsupported

_USUAL = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh")}
_PEEPHOLES = 7


def nothing_is_ignored(place: Place) -> Iterator[Finding]:
    """Attributes that change the numbers have their defaults."""
    found = place.node.attributes.get("activations")
    names = [] if found is None or found.is_ref() else [str(name).lower() for name in found.value]
    usual = _USUAL[place.op]
    if names and any(name != usual[i % len(usual)] for i, name in enumerate(names)):
        yield unsupported("rnn_ignored", f"activations {', '.join(names)} are ignored", "OPS")
    if place.has("clip"):
        yield unsupported("rnn_ignored", "clip is ignored", "OPS")
    for name in ("layout", "input_forget"):
        if place.integer(name, 0):
            yield unsupported("rnn_ignored", f"{name} 1 is ignored", "OPS")


def peepholes_are_absent(place: Place) -> Iterator[Finding]:
    """Weights of peepholes are unusual."""
    if place.value(_PEEPHOLES) is not None:
        yield restricted("rnn_peepholes", "it has peephole weights, of which no source speaks", "OPS")


def reset_is_as_the_kernel_has_it(place: Place) -> Iterator[Finding]:
    """Where the reset gate stands is not read either."""
    value = place.integer("linear_before_reset", 0)
    yield restricted(
        "gru_reset", f"linear_before_reset {value} is not read: compare its numbers on the device", "OPS"
    )


def directions_are_single(place: Place) -> Iterator[Finding]:
    """Both directions in one node met limits of plugins."""
    if place.text("direction", "forward").lower() == "bidirectional":
        yield restricted("rnn_bidirectional", "both directions in one node met limits of plugins", "MZ")


RULES: Rules = {
    "LSTM": (nothing_is_ignored, peepholes_are_absent, directions_are_single),
    "GRU": (nothing_is_ignored, reset_is_as_the_kernel_has_it, directions_are_single),
}
