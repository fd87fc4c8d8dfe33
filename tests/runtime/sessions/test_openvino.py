from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core.errors import InvalidModelError, UsageError
from graphopt.core.session import OnnxRuntimeSession

pytestmark = pytest.mark.openvino
pytest.importorskip("openvino")

from graphopt.runtime.sessions.openvino import OpenVinoSession  # noqa: E402


def _image(batch: int) -> np.ndarray:
    return np.random.default_rng(batch).standard_normal((batch, 3, 7, 5)).astype(np.float32)


def test_equals_onnxruntime_in_full_precision(write_model: Callable[..., Path]) -> None:
    path = write_model()
    with OpenVinoSession(path) as session, OnnxRuntimeSession(path) as reference:
        assert [(spec.name, spec.dtype) for spec in session.inputs] == [("image", "float32")]
        assert [spec.name for spec in session.outputs] == ["logits"]
        for batch in (1, 4, 2):
            feeds = {"image": _image(batch)}
            got: Any = session.run(feeds)["logits"]
            wanted: Any = reference.run(feeds)["logits"]
            assert got.shape == wanted.shape == (batch, 4)
            # bf16 or fp16 would be off by 1e-3 and more.
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_float32_is_asked_for(write_model: Callable[..., Path]) -> None:
    session = OpenVinoSession(write_model())
    assert "f32" in str(session._compiled.get_property("INFERENCE_PRECISION_HINT")).lower() or (
        "float32" in str(session._compiled.get_property("INFERENCE_PRECISION_HINT"))
    )


def test_results_are_not_overwritten_by_the_next_run(write_model: Callable[..., Path]) -> None:
    with OpenVinoSession(write_model(batch=1)) as session:
        first = session.run({"image": _image(1)})["logits"]
        before = first.copy()
        session.run({"image": _image(1) * 3})
        assert np.array_equal(first, before)


def test_arrays_in_any_memory_order(write_model: Callable[..., Path]) -> None:
    with OpenVinoSession(write_model()) as session:
        feeds = _image(2)
        wanted = session.run({"image": feeds})["logits"]
        assert np.array_equal(session.run({"image": np.asfortranarray(feeds)})["logits"], wanted)


def test_feeds_that_do_not_fit_are_refused(write_model: Callable[..., Path]) -> None:
    with OpenVinoSession(write_model(batch=2)) as session:
        assert session.inputs[0].shape == (2, 3, 7, 5)
        for feeds in ({}, {"image": _image(3)}, {"image": _image(2).astype(np.float64)}):
            with pytest.raises(UsageError):
                session.run(feeds)


def test_a_closed_session_says_so(write_model: Callable[..., Path]) -> None:
    session = OpenVinoSession(write_model())
    session.close()
    session.close()
    with pytest.raises(UsageError, match="closed"):
        session.run({"image": _image(1)})


def test_a_damaged_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.xml"
    path.write_text("not xml")
    with pytest.raises(InvalidModelError, match=r"OpenVINO cannot load .*bad\.xml"):
        OpenVinoSession(path)
