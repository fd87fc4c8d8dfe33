"""What the outputs of a model are to its task, as users type it: ``detection:dets,labels``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphopt.core.discovery import did_you_mean
from graphopt.core.errors import UsageError
from graphopt.core.words import counted

KINDS: Mapping[str, tuple[str, ...]] = {
    "attributes": ("attributes",),
    "classification": ("scores",),
    "detection": ("dets", "labels", "masks"),
    "segmentation": ("masks", "scores"),
}
"""Per kind of task the roles that its outputs may have; ``dets`` are boxes with scores, as in mmdetection."""


_JOINED = ("boxes", "scores")


@dataclass(frozen=True, kw_only=True)
class Roles:
    """The roles of a model's outputs.

    Attributes:
        kind: of task.
        names: the roles, in order.
        tensors: whose they are, by name or ``NODE:INDEX``; empty when they follow the outputs' order.
    """

    kind: str
    names: tuple[str, ...]
    tensors: tuple[str, ...] = ()

    def by_tensor(self, outputs: Sequence[str]) -> dict[str, str]:
        """Return tensor -> role.

        Args:
            outputs: of the model, in order; counted only when no tensors were named.

        Raises:
            UsageError: there are not as many outputs as roles.
        """
        tensors = self.tensors or tuple(outputs)
        if len(tensors) != len(self.names):
            raise UsageError(
                f"--as names {counted(len(self.names), 'role')} ({', '.join(self.names)}) for "
                f"{counted(len(tensors), 'output')} ({', '.join(tensors)}); give one each, or say which is "
                f"which: {self.kind}:{self.names[0]}={tensors[0] if tensors else 'TENSOR'}"
            )
        return dict(zip(tensors, self.names, strict=True))


def parse_roles(text: str) -> Roles:
    """Read ``KIND:ROLE,ROLE`` or ``KIND:ROLE=TENSOR,ROLE=TENSOR``.

    Raises:
        UsageError: an unknown kind or role, a role given twice, or both forms at once.
    """
    kind, colon, rest = text.partition(":")
    if kind not in KINDS:
        raise UsageError(f"--as: unknown kind of task {kind!r}; {did_you_mean(kind, KINDS)}")
    items = [item.strip().partition("=") for item in rest.split(",") if item.strip()]
    if not colon or not items:
        raise UsageError(f"--as {kind} needs the roles of the outputs: {kind}:{','.join(KINDS[kind])}")
    names = tuple(item[0] for item in items)
    for name in names:
        if kind == "detection" and name in _JOINED:
            raise UsageError(
                f"--as: detection has no role {name!r}: dets are boxes with their scores as a fifth column, "
                "[n, 5]; outputs that hold them apart have no roles, and are compared number by number"
            )
        if name not in KINDS[kind]:
            raise UsageError(f"--as: unknown role {name!r} of {kind}; {did_you_mean(name, KINDS[kind])}")
        if names.count(name) > 1:
            raise UsageError(f"--as: the role {name} is given twice")
    named = [item[2] for item in items if item[1]]
    if named and (len(named) != len(items) or not all(named)):
        raise UsageError(f"--as: name a tensor for every role ({kind}:{names[0]}=TENSOR,...), or for none")
    return Roles(kind=kind, names=names, tensors=tuple(named))
