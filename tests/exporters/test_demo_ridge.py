"""Linear layers fitted in closed form."""

from contextlib import ExitStack
from typing import Any

import pytest

from graphopt.core.errors import UsageError

pytestmark = pytest.mark.torch


def _data() -> tuple[Any, Any, Any, Any]:
    import torch

    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(60, 5, generator=generator) + 2
    weight, bias = torch.randn(2, 5, generator=generator), torch.tensor([3.0, -1.0])
    return rows, weight, bias, rows @ weight.T + bias


def test_rows_in_parts_give_back_the_linear_map_they_come_from() -> None:
    import torch

    from graphopt.exporters.demo_ridge import RidgeFit

    rows, weight, bias, targets = _data()
    fit = RidgeFit(5, 2)
    for part in (slice(0, 20), slice(20, 60)):
        fit.add(rows[part], targets[part], torch.ones(len(rows[part])))
    found = fit.solve(1e-9)
    assert torch.allclose(found[0], weight, atol=1e-3)
    assert torch.allclose(found[1], bias, atol=1e-2)


def test_a_large_ridge_leaves_the_weighted_mean() -> None:
    import torch

    from graphopt.exporters.demo_ridge import RidgeFit

    rows, _, _, targets = _data()
    weights = torch.linspace(0, 1, 60)
    fit = RidgeFit(5, 2)
    fit.add(rows, targets, weights)
    weight, bias = fit.solve(1e9)
    assert float(weight.abs().max()) < 1e-6
    assert torch.allclose(bias, (weights @ targets) / weights.sum(), atol=1e-4)


def test_nothing_to_fit_is_refused() -> None:
    from graphopt.exporters.demo_ridge import RidgeFit

    with pytest.raises(UsageError, match="nothing to fit"):
        RidgeFit(5, 2).solve(1.0)


def test_a_convolution_answers_what_was_fitted_to_its_smoothed_rows() -> None:
    import torch

    from graphopt.exporters.demo_ridge import SmoothLayer

    layer = torch.nn.Conv2d(5, 2, 3, padding=1)
    smooth = SmoothLayer(layer)
    maps = torch.randn(1, 5, 4, 6, generator=torch.Generator().manual_seed(4))
    places = torch.tensor([0, 7, 23])
    _, weight, bias, _ = _data()
    smooth.set(weight, bias)
    smooth.transform(2.0, 0.5)
    with torch.no_grad(), ExitStack() as stack:
        seen = smooth.recorded(stack)
        answer = layer(maps)[0].flatten(1)[:, places].T
    assert seen[0] is maps
    wanted = 2 * (smooth.rows(maps, places) @ weight.T + bias) + 0.5
    assert torch.allclose(answer, wanted, atol=1e-5)
    assert torch.equal(layer.weight, layer.weight.flip(3))
