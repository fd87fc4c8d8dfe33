import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from graphopt.compile import Plan, Target, find_target, list_targets
from graphopt.core.errors import UsageError


def test_all_targets_are_found_by_their_file() -> None:
    assert list_targets() == ("atc", "onnxruntime", "openvino")


@pytest.mark.parametrize("name", list_targets())
def test_each_target_is_a_frozen_dataclass_with_a_suffix(name: str) -> None:
    target = find_target(name)
    assert issubclass(target, Target)
    assert target.name == name
    assert target.suffix.startswith(".")
    assert dataclasses.is_dataclass(target)
    assert target.__dataclass_params__.frozen
    assert target.__doc__


def test_misspelt_target_gets_the_near_one() -> None:
    with pytest.raises(UsageError, match="unknown target 'openvno'; did you mean openvino"):
        find_target("openvno")


@pytest.mark.parametrize("name", list_targets())
def test_plan_writes_nothing_and_is_plain_data(
    name: str, model_file: Callable[..., Path], tmp_path: Path
) -> None:
    model = model_file()
    target = find_target(name)(**({"soc": "310P3"} if name == "atc" else {}))
    before = sorted(tmp_path.iterdir())
    plan = target.plan(model, tmp_path / f"out{target.suffix}")
    assert isinstance(plan, Plan)
    assert plan.target == name
    assert plan.steps
    assert json.loads(json.dumps(plan.to_json()))["target"] == name
    assert sorted(tmp_path.iterdir()) == before
