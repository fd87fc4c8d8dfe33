"""The original network behind the session protocol."""

import numpy as np
import pytest

from graphopt.core.errors import ExportError, UsageError
from graphopt.core.session import Session
from graphopt.core.tensors import TensorSpec
from graphopt.exporters.torch_session import TorchSession

pytest.importorskip("torch")
import torch

pytestmark = pytest.mark.torch

X = TensorSpec(name="x", shape=("batch", 3), dtype="float32")
Y = TensorSpec(name="y", shape=("batch", 2), dtype="float32")
FEEDS = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}


def dropping() -> torch.nn.Module:
    torch.manual_seed(4)
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Dropout(0.9))


def test_it_runs_in_eval_mode_and_gives_the_mode_back() -> None:
    network = dropping().train()
    session: Session = TorchSession(network, (X,), (Y,))
    with session:
        first, second = session.run(FEEDS), session.run(FEEDS)
    expected = FEEDS["x"] @ network[0].weight.detach().numpy().T + network[0].bias.detach().numpy()
    np.testing.assert_allclose(first["y"].astype(np.float32), expected, rtol=1e-5)
    np.testing.assert_array_equal(first["y"], second["y"])
    assert network.training
    assert network[1].training
    assert (session.inputs, session.outputs) == ((X,), (Y,))


def test_outputs_are_bound_in_order_or_by_name() -> None:
    class Pair(torch.nn.Module):
        def __init__(self, by_name: bool) -> None:
            super().__init__()
            self.by_name = by_name

        def forward(self, x: torch.Tensor) -> object:
            return {"b": x * 2, "a": x + 1} if self.by_name else [x + 1, x * 2]

    specs = tuple(TensorSpec(name=name, shape=(2, 3), dtype="float32") for name in "ab")
    for by_name in (True, False):
        result = TorchSession(Pair(by_name), (X,), specs).run(FEEDS)
        assert list(result) == ["a", "b"]
        np.testing.assert_array_equal(result["a"], FEEDS["x"] + 1)
        np.testing.assert_array_equal(result["b"], FEEDS["x"] * 2)


def test_the_caller_keeps_its_input_even_when_the_network_writes_into_it() -> None:
    class Writing(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.zero_()[:, :2]

    feeds = {"x": FEEDS["x"].copy()}
    TorchSession(Writing(), (X,), (Y,)).run(feeds)
    np.testing.assert_array_equal(feeds["x"], FEEDS["x"])


@pytest.mark.parametrize(
    "feeds",
    [{}, {"x": FEEDS["x"], "z": FEEDS["x"]}, {"x": FEEDS["x"].astype(np.float64)}, {"x": FEEDS["x"][:, :2]}],
)
def test_feeds_that_do_not_fit_are_refused(feeds: dict[str, np.ndarray]) -> None:
    with pytest.raises(UsageError):
        TorchSession(dropping(), (X,), (Y,)).run(feeds)


@pytest.mark.parametrize(
    "outputs",
    [
        (Y, TensorSpec(name="more", shape=(2,), dtype="float32")),
        (TensorSpec(name="y", shape=("batch", 3), dtype="float32"),),
        (TensorSpec(name="y", shape=("batch", 2), dtype="float64"),),
    ],
)
def test_answers_that_do_not_fit_the_declaration_are_refused(outputs: tuple[TensorSpec, ...]) -> None:
    with pytest.raises(ExportError):
        TorchSession(dropping(), (X,), outputs).run(FEEDS)


def test_closing_twice_is_fine() -> None:
    session = TorchSession(dropping(), (X,), (Y,))
    session.close()
    session.close()
