"""A demo checkpoint of a segmentation network: seeded weights, a last convolution fitted in closed form."""

import itertools
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graphopt.core.errors import UsageError
from graphopt.core.optional import require
from graphopt.core.voc import VOC_IGNORE
from graphopt.exporters.demo_balance import balance_scales
from graphopt.exporters.demo_weights import calibrate_batchnorm, seed_module

if TYPE_CHECKING:
    import torch

_LOGGER = logging.getLogger(__name__)

_PURPOSE = "making a demo checkpoint"
_CALIBRATION_IMAGES = 4
_CALIBRATION_SIDE = 257
"""Pixels of the centre that batch norms and scales are calibrated on: statistics need no whole picture."""
_CELLS_PER_IMAGE = 1000
_RIDGE = 1e-3
_SHARPNESS = 8.0
"""Logit of a cell that the fit is sure of, above one that it is sure to be something else."""

Float32 = NDArray[np.float32]
Masks = NDArray[np.uint8]


def make_segmentation_checkpoint(
    module: "torch.nn.Module",
    samples: Iterable[tuple[Float32, Masks]],
    *,
    seed: int,
    ignore: int = VOC_IGNORE,
    ridge: float = _RIDGE,
) -> dict[str, "torch.Tensor"]:
    """Give a module seeded weights and a fitted classifier, in place.

    Args:
        module: in eval mode, with ``features(x)`` and a convolution ``clf_conv`` on them.
        samples: preprocessed images float32 [3, H, W] with their masks uint8 [H, W], both as the
            network sees them; read once.
        seed: of the weights and of the choice of cells.
        ignore: label of pixels that teach nothing.
        ridge: as in ``CellFit.solve``.

    Returns:
        The module's state dict, as public checkpoints hold it.

    Raises:
        UsageError: there are no samples, or fewer than two classes in them.
        MissingBackendError: torch is not installed.
    """
    torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
    network: Any = module
    seed_module(module, seed)
    remaining = iter(samples)
    first = list(itertools.islice(remaining, _CALIBRATION_IMAGES))
    if not first:
        raise UsageError("a demo checkpoint needs labelled images to fit; give at least one")
    centres = np.stack([_centre(image) for image, _ in first])
    calibrate_batchnorm(module, [centres])
    balance_scales(module, centres)
    fit = CellFit(network.clf_conv, seed=seed)
    network.to(memory_format=torch.channels_last)
    for image, mask in itertools.chain(first, remaining):
        with torch.inference_mode():
            features = network.features(torch.from_numpy(image[np.newaxis]))[0]
        fit.add(features, mask, ignore=ignore)
    network.to(memory_format=torch.contiguous_format)
    fit.solve(ridge)
    _LOGGER.info("fitted %d classes to %d cells", fit.classes, fit.cells)
    state: dict[str, torch.Tensor] = network.state_dict()
    return state


class CellFit:
    """Fits a convolution to labelled cells by ridge regression on one-hot targets.

    Every class weighs by the square root of its share: rare ones would drown, and equal weights
    would flood the background with them.

    Args:
        convolution: stride 1, odd kernel, padded to keep the size, with bias; set by ``solve``.
        seed: of the choice of cells.
    """

    def __init__(self, convolution: "torch.nn.Module", *, seed: int) -> None:
        self._convolution: Any = convolution
        self._rng = np.random.default_rng(seed)
        self._rows: list[Float32] = []
        self._labels: list[Masks] = []

    @property
    def cells(self) -> int:
        """How many cells were added."""
        return sum(map(len, self._labels))

    @property
    def classes(self) -> int:
        """How many different labels they have."""
        return len(np.unique(np.concatenate(self._labels))) if self._labels else 0

    def add(self, features: "torch.Tensor", mask: Masks, *, ignore: int) -> None:
        """Add some cells of one image.

        Args:
            features: float32 [C, h, w].
            mask: uint8 [H, W], at least as large; a cell has the label of the pixel at its middle.
            ignore: label that is left out.
        """
        torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
        height, width = features.shape[1:]
        rows = (np.arange(height) + 0.5) * mask.shape[0] / height
        columns = (np.arange(width) + 0.5) * mask.shape[1] / width
        labels = mask[rows.astype(int)][:, columns.astype(int)].ravel()
        known = np.flatnonzero(labels != ignore)
        chosen = self._rng.permutation(known)[:_CELLS_PER_IMAGE]
        kernel = self._convolution.kernel_size[0]
        windows = torch.nn.functional.unfold(features[None], kernel, padding=kernel // 2)[0]
        self._rows.append(windows[:, torch.from_numpy(chosen)].T.contiguous().numpy())
        self._labels.append(labels[chosen])

    def solve(self, ridge: float) -> None:
        """Set weight and bias of the convolution.

        Args:
            ridge: penalty relative to the features' mean square.

        Raises:
            UsageError: the cells have fewer than two classes.
        """
        torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
        if self.classes < 2:
            raise UsageError(f"{self.cells} cells of {self.classes} classes: nothing to tell apart")
        labels = np.concatenate(self._labels)
        known, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
        weight = torch.from_numpy((1 / np.sqrt(counts))[index].astype(np.float32))
        weight /= weight.sum()
        rows = torch.from_numpy(np.concatenate(self._rows))
        target = torch.zeros(len(rows), self._convolution.out_channels)
        target[torch.arange(len(rows)), torch.from_numpy(known.astype(np.int64)[index])] = 1.0
        mean, mean_target = weight @ rows, weight @ target
        rows -= mean
        weighted = rows * weight[:, None]
        gram = (weighted.T @ rows).double()
        gram += ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
        solved = torch.linalg.solve(gram, (weighted.T @ (target - mean_target)).double()).float()
        with torch.no_grad():
            self._convolution.weight.copy_(_SHARPNESS * solved.T.reshape(self._convolution.weight.shape))
            self._convolution.bias.copy_(_SHARPNESS * (mean_target - mean @ solved))


def _centre(image: Float32) -> Float32:
    top, left = (max(0, (size - _CALIBRATION_SIDE) // 2) for size in image.shape[1:])
    return image[:, top : top + _CALIBRATION_SIDE, left : left + _CALIBRATION_SIDE]
