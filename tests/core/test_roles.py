"""``--as``: roles of outputs as users type them."""

import pytest

from graphopt.core.errors import UsageError
from graphopt.core.roles import parse_roles


def test_roles_follow_the_order_of_the_outputs() -> None:
    roles = parse_roles("detection:dets,labels")
    assert roles.kind == "detection"
    assert roles.by_tensor(["1361", "1368"]) == {"1361": "dets", "1368": "labels"}


def test_or_name_their_tensors() -> None:
    roles = parse_roles("detection:labels=Reshape_1489:0, dets=2901")
    assert roles.by_tensor(["whatever"]) == {"Reshape_1489:0": "labels", "2901": "dets"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("detecton:dets", "unknown kind of task 'detecton'; did you mean detection"),
        ("detection", "needs the roles of the outputs: detection:dets,labels"),
        ("detection:", "needs the roles"),
        ("detection:det,labels", "unknown role 'det' of detection; did you mean dets"),
        ("detection:dets,dets", "given twice"),
        ("detection:dets=a,labels", "name a tensor for every role"),
        ("detection:dets=", "name a tensor for every role"),
    ],
)
def test_what_cannot_be_understood_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_roles(text)


def test_every_output_needs_a_role() -> None:
    with pytest.raises(UsageError, match=r"names 2 roles \(dets, labels\) for 3 outputs \(a, b, c\)"):
        parse_roles("detection:dets,labels").by_tensor(["a", "b", "c"])
