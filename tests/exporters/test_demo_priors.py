"""Which prior speaks for which box."""

from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.torch


def test_overlaps_of_equal_half_and_distant_boxes() -> None:
    import torch

    from graphopt.exporters.demo_priors import overlaps

    boxes = torch.tensor([[0.0, 0, 10, 20]])
    others = torch.tensor([[0.0, 0, 10, 20], [0, 10, 10, 30], [40, 40, 50, 60]])
    assert overlaps(boxes, others)[0].tolist() == pytest.approx([1, 1 / 3, 0])


def test_centerness_is_one_in_the_middle_and_zero_outside() -> None:
    import torch

    from graphopt.exporters.demo_priors import centerness

    points = torch.tensor([[10.0, 5], [5, 5], [0, 5], [30, 5]])
    box = torch.tensor([[0.0, 0, 20, 10]]).expand(4, 4)
    assert centerness(points, box).tolist() == pytest.approx([1, (5 / 15) ** 0.5, 0, 0])


def test_a_point_speaks_for_the_smallest_box_that_its_level_is_for() -> None:
    import torch

    from graphopt.exporters.demo_priors import assigned

    head = SimpleNamespace(regress_ranges=((0, 16), (16, 99)))
    points = torch.tensor([[15.0, 15], [50, 50]])
    boxes = torch.tensor([[0.0, 0, 80, 80], [10, 10, 20, 20]])
    fine, coarse = assigned(head, [points, points], boxes)
    assert (fine[1][0], fine[0].tolist()) == (1, [1, 0])
    assert coarse[1].tolist() == [0, 0]
    assert coarse[0].tolist() == pytest.approx([15 / 65, 30 / 50])


def test_an_anchors_quality_is_relative_to_the_best_one_of_its_box() -> None:
    import torch

    from graphopt.exporters.demo_priors import assigned

    fine = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 7.5]])
    coarse = torch.tensor([[0.0, 0, 10, 5], [90, 90, 99, 99]])
    boxes = torch.tensor([[0.0, 0, 10, 20]])
    qualities = torch.cat([quality for quality, _ in assigned(SimpleNamespace(), [fine, coarse], boxes)])
    assert qualities.tolist() == pytest.approx([1, 0.5, 0, 0])
