"""DeepMAR without downloads: drawn pedestrians and a checkpoint fitted to some of them."""

import logging
import tempfile
from pathlib import Path

from graphopt.core.errors import UsageError
from graphopt.core.files import atomic_folder, output_errors
from graphopt.exporters.demo_fit import make_demo_checkpoint, save_checkpoint
from graphopt.recipes.models.deepmar import RECIPE
from graphopt.recipes.recipe import Demo
from graphopt.runtime.datasets.peta import PetaDataset
from graphopt.runtime.datasets.synthetic_pedestrians import write_synthetic_peta
from graphopt.runtime.preprocess import preprocess

_LOGGER = logging.getLogger(__name__)

FIT_IMAGES = 256
TEST_IMAGES = 200
_FIT_START = 50_000
"""Pictures to fit are numbered from here, so that no test picture is among them."""


def make_deepmar_demo(
    folder: Path, *, fit_images: int = FIT_IMAGES, test_images: int = TEST_IMAGES, seed: int = 7
) -> Demo:
    """Write ``folder/data`` with unseen test pictures and ``folder/checkpoint.pth.tar``.

    The checkpoint comes last: where it is, the demo is complete. Earlier results in the folder
    are replaced.

    Args:
        folder: created when missing.
        fit_images: fewer are faster and less accurate: on unseen pictures the mean accuracy
            (mA) is 0.89 to 0.91 with 256, 0.84 with 160, 0.78 with 100. Every attribute needs two
            examples of each value, which very few images may not hold.
        test_images: at most 50,000.
        seed: of pictures and weights.

    Raises:
        UsageError: a count is out of range, or too few images to fit.
        OutputError: the folder cannot be written.
        MissingBackendError: torch is not installed.
    """
    if not 0 < test_images <= _FIT_START or fit_images < 1:
        raise UsageError(f"{fit_images} images to fit and {test_images} to test are out of range")
    checkpoint = folder / "checkpoint.pth.tar"
    with output_errors(checkpoint):
        checkpoint.unlink(missing_ok=True)  # an old one beside new pictures would look complete
    with atomic_folder(folder / "data", force=True) as data:
        write_synthetic_peta(data, count=test_images, seed=seed)
    with tempfile.TemporaryDirectory() as scratch:
        write_synthetic_peta(Path(scratch), count=fit_images, seed=seed, start=_FIT_START)
        samples = PetaDataset(Path(scratch))
        state = make_demo_checkpoint(
            RECIPE.needed_build("the demo")(),
            (preprocess(sample.path, RECIPE.preprocessing) for sample in samples),
            samples.labels,
            seed=seed,
        )
    save_checkpoint(checkpoint, state, epoch=0, demo_seed=seed, demo_images=fit_images)
    _LOGGER.info("the demo checkpoint %s was fitted to %d drawn pedestrians", checkpoint, fit_images)
    return Demo(checkpoint=checkpoint, data=folder / "data")
