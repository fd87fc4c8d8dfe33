from pathlib import Path

import pytest

from graphopt.core.errors import UsageError
from graphopt.recipes.module_request import parse_request


def test_everything_that_can_be_said() -> None:
    request = parse_request(
        "my:folder/net.py:build",
        shapes=["image=1x3x224x224", "ids = 1,77", "scale=scalar"],
        dtypes=["ids=int64"],
        dynamic=["image:0=batch", "image:2=height", "ids:0=batch"],
    )
    assert (request.file, request.build) == (Path("my:folder/net.py"), "build")
    assert request.shapes == {"image": (1, 3, 224, 224), "ids": (1, 77), "scale": ()}
    assert request.dynamic == {"image": {0: "batch", 2: "height"}, "ids": {0: "batch"}}


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ("net.py", {}, "is not FILE:BUILD"),
        ("net.py:", {}, "is not FILE:BUILD"),
        ("net.py:my build", {}, "is not FILE:BUILD"),
        ("net.py:b", {"shapes": ["x"]}, "--shape x: write --shape NAME="),
        ("net.py:b", {"shapes": ["x=1xtwo"]}, "sizes are whole numbers"),
        ("net.py:b", {"shapes": ["x=1x0"]}, "sizes are whole numbers"),
        ("net.py:b", {"shapes": ["x=Nx3"]}, "--dynamic NAME:AXIS=SIZE"),
        ("net.py:b", {"shapes": ["x=1", "x=2"]}, "names an input twice"),
        ("net.py:b", {"shapes": ["x=1"], "dtypes": ["x=flot32"]}, "did you mean float32"),
        (
            "net.py:b",
            {"shapes": ["ids=1"], "dtypes": ["idx=int64"]},
            "for 'idx'; did you mean ids",
        ),
        ("net.py:b", {"shapes": ["x=1x2"], "dynamic": ["x:2=n"]}, "it has 2 axes, counted from 0"),
        ("net.py:b", {"shapes": ["x=1x2"], "dynamic": ["x:0"]}, "write --dynamic NAME:0=batch"),
        ("net.py:b", {"shapes": ["x=1x2"], "dynamic": ["y:0=n"]}, "no --shape for 'y'"),
    ],
)
def test_what_makes_no_sense_is_refused(what: str, options: dict[str, list[str]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_request(what, **options)  # type: ignore[arg-type]
