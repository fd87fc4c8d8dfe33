from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from graphopt.core.errors import InvalidModelError, MissingBackendError, ToolFailure, UsageError
from graphopt.runtime.sessions.ascend import AscendSession


@pytest.fixture
def om(fake_acl: ModuleType, tmp_path: Path) -> Path:
    path = tmp_path / "model.om"
    inputs = [["image", [2, 3, 5], "float32"], ["mask", [2, 4], "int32"]]
    path.write_text(fake_acl.model_text(inputs, [["logits", [2, 7], "float32", 0.5]]))
    return path


def _feeds() -> dict[str, np.ndarray]:
    return {"mask": np.ones((2, 4), np.int32), "image": np.full((2, 3, 5), 2, np.float32)}


def test_feeds_and_outputs_go_by_name(fake_acl: ModuleType, om: Path) -> None:
    acl = fake_acl.FakeAcl()
    with AscendSession(om, acl=acl) as session:
        assert [(spec.name, spec.shape, spec.dtype) for spec in session.inputs] == [
            ("image", (2, 3, 5), "float32"),
            ("mask", (2, 4), "int32"),
        ]
        assert [spec.name for spec in session.outputs] == ["logits"]
        feeds = _feeds()
        got = session.run(feeds)
        expected = fake_acl.expected_output([feeds["image"], feeds["mask"]], [2, 7], "float32", 0.5)
        assert np.array_equal(got["logits"], expected)
    session.close()
    assert acl.leaks() == {}
    with pytest.raises(UsageError, match="closed"):
        session.run(_feeds())


def test_a_free_batch_has_a_name(fake_acl: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "free.om"
    inputs, outputs = [["image", [-1, 3], "float32"]], [["logits", [-1, 7], "float32", 1.0]]
    path.write_text(fake_acl.model_text(inputs, outputs, (1, 4)))
    with AscendSession(path, acl=fake_acl.FakeAcl()) as session:
        assert session.inputs[0].shape == ("batch", 3)
        assert session.outputs[0].shape == ("batch", 7)
        assert session.run({"image": np.ones((4, 3), np.float32)})["logits"].shape == (4, 7)
        with pytest.raises(UsageError, match="not one the model was compiled for"):
            session.run({"image": np.ones((3, 3), np.float32)})


@pytest.mark.parametrize(
    "feeds",
    [
        {},
        {"image": np.zeros((2, 3, 5), np.float32)},
        {**_feeds(), "x": np.zeros(1)},
        {**_feeds(), "mask": np.ones((2, 4))},
    ],
)
def test_feeds_that_do_not_fit_are_refused(
    fake_acl: ModuleType, om: Path, feeds: dict[str, np.ndarray]
) -> None:
    with AscendSession(om, acl=fake_acl.FakeAcl()) as session, pytest.raises(UsageError):
        session.run(feeds)


def test_failures_of_the_device_have_their_own_kind(fake_acl: ModuleType, om: Path) -> None:
    with pytest.raises(InvalidModelError, match=r"nowhere\.om"):
        AscendSession(om.with_name("nowhere.om"), acl=fake_acl.FakeAcl())
    acl = fake_acl.FakeAcl()
    session = AscendSession(om, acl=acl)
    acl.fail_at = acl.failable_calls + 4
    with pytest.raises(ToolFailure, match=r"acl\.mdl\.execute failed: 500001 FAILURE") as caught:
        session.run(_feeds())
    assert caught.value.returncode == 500001
    acl.fail_at = acl.failable_calls + 1
    with pytest.raises(ToolFailure, match=r"acl\.rt\.set_context"):
        session.close()
    assert acl.leaks() == {}


def test_without_pyacl_the_way_out_is_said(om: Path) -> None:
    with pytest.raises(MissingBackendError, match=r"set_env\.sh.*graphopt bundle"):
        AscendSession(om)
