"""Closed-form fit of a last convolution, and scales for convolutions without batch norms, on toys."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from graphopt.core.errors import UsageError
from graphopt.exporters.demo_balance import balance_scales
from graphopt.exporters.demo_segmentation import CellFit, make_segmentation_checkpoint
from graphopt.exporters.demo_weights import seed_module
from graphopt.exporters.models.refinenet import build_refinenet

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Several threads spin more than they compute on pictures this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


HEIGHT, WIDTH, CLASSES, VOID = 40, 56, 4, 255
Scene = tuple[NDArray[np.float32], NDArray[np.uint8]]


def _scenes(count: int, *, seed: int) -> list[Scene]:
    """Noise with up to three rectangles, each brighter in the channel of its class, with void borders."""
    rng = np.random.default_rng(seed)
    scenes = []
    for _ in range(count):
        picture = 0.4 * rng.standard_normal((3, HEIGHT, WIDTH))
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        for label in rng.integers(1, CLASSES, 2):
            top, left = rng.integers(0, HEIGHT - 20), rng.integers(0, WIDTH - 20)
            mask[top : top + 20, left : left + 20] = VOID
            mask[top + 1 : top + 19, left + 1 : left + 19] = label
            picture[:, top : top + 20, left : left + 20] = 0
            picture[label - 1, top : top + 20, left : left + 20] = 3
        scenes.append((picture.astype(np.float32), mask))
    return scenes


def _network(width: int = 4) -> Any:
    return build_refinenet(num_classes=CLASSES, blocks=(1, 1, 1, 1), width=width)


def _accuracy(network: Any, scenes: list[Scene]) -> float:
    """Return the mean over the classes of the share of their pixels that is found."""
    pictures, masks = (np.stack(part) for part in zip(*scenes, strict=True))
    with torch.no_grad():
        logits = network(torch.from_numpy(pictures))
        found = torch.nn.functional.interpolate(logits, size=(HEIGHT, WIDTH), mode="bilinear").argmax(1)
    return float(np.mean([(found.numpy()[masks == label] == label).mean() for label in range(CLASSES)]))


def test_it_tells_classes_apart_in_unseen_scenes() -> None:
    network = _network()
    make_segmentation_checkpoint(network, iter(_scenes(20, seed=0)), seed=3)
    assert not network.training
    assert _accuracy(network, _scenes(12, seed=1)) > 0.75


def test_masks_of_other_scenes_teach_nothing() -> None:
    network = _network()
    scenes = _scenes(20, seed=0)
    others = [mask for _, mask in _scenes(20, seed=2)]
    wrong = [(picture, mask) for (picture, _), mask in zip(scenes, others, strict=True)]
    make_segmentation_checkpoint(network, wrong, seed=3)
    assert _accuracy(network, _scenes(12, seed=1)) < 0.45


def test_it_depends_on_the_seed_only() -> None:
    scenes = _scenes(3, seed=0)
    first, second, third = (make_segmentation_checkpoint(_network(), scenes, seed=seed) for seed in (3, 3, 4))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["clf_conv.weight"], third["clf_conv.weight"])
    assert all(value.is_contiguous() for value in first.values())


def test_classes_that_nobody_showed_are_not_answered() -> None:
    network = build_refinenet(num_classes=CLASSES + 3, blocks=(1, 1, 1, 1), width=4)
    scenes = _scenes(20, seed=0)
    make_segmentation_checkpoint(network, scenes, seed=3)
    assert not network.clf_conv.weight[CLASSES:].any()
    with torch.no_grad():
        answers = network(torch.from_numpy(np.stack([picture for picture, _ in scenes]))).argmax(1)
    assert (answers >= CLASSES).float().mean() < 0.01


def test_cells_have_the_label_of_the_pixel_at_their_middle() -> None:
    convolution = torch.nn.Conv2d(2, 3, 1)
    fit = CellFit(convolution, seed=0)
    labels = np.array([[0, 1, 2], [2, 1, VOID]], np.uint8)
    mask = np.full((8, 12), VOID, np.uint8)
    mask[2::4, 2::4] = labels
    features = torch.stack(
        [torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 9.0]]), torch.tensor([[0.0, 0, 1], [1, 0, 9]])]
    )
    fit.add(features, mask, ignore=VOID)
    assert (fit.cells, fit.classes) == (5, 3)
    fit.solve(1e-6)
    with torch.no_grad():
        found = convolution(features[None])[0].argmax(0).numpy()
    known = labels != VOID
    np.testing.assert_array_equal(found[known], labels[known])


def test_one_class_or_no_scene_is_refused() -> None:
    plain = [(picture, np.zeros_like(mask)) for picture, mask in _scenes(2, seed=0)]
    with pytest.raises(UsageError, match="of 1 classes: nothing to tell apart"):
        make_segmentation_checkpoint(_network(), plain, seed=3)
    with pytest.raises(UsageError, match="give at least one"):
        make_segmentation_checkpoint(_network(), [], seed=3)


def test_signals_neither_fade_nor_grow_through_balanced_convolutions() -> None:
    network = _network(width=8)
    seed_module(network, 3)
    pictures = np.stack([picture for picture, _ in _scenes(4, seed=0)])
    balance_scales(network, pictures)
    spreads: dict[str, float] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(
                lambda _, __, answer, name=name: spreads.update({name: float(answer.std())})
            )
    with torch.no_grad():
        network(torch.from_numpy(pictures))
    for name in ("p_ims1d2_outl1_dimred", "mflow_conv_g2_b3_joint_varout_dimred"):
        assert spreads[name] == pytest.approx(1, rel=1e-3)
    for name in ("adapt_stage3_b.0.2_conv_relu_varout_dimred", "mflow_conv_g4_pool.0.4_outvar_dimred"):
        assert spreads[name] == pytest.approx(0.3, rel=1e-3)
    assert not any(layer._forward_hooks for layer in _network().modules())
