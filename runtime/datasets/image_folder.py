"""A plain folder of images: enough where a reference model's answers stand for the labels."""

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from graphopt.core.errors import DatasetError
from graphopt.runtime.datasets.image_files import IMAGE_SUFFIXES


@dataclass(frozen=True, kw_only=True)
class ImageSample:
    """An image without labels.

    Attributes:
        name: of the file.
        path: the file.
    """

    name: str
    path: Path


class ImageFolder:
    """The images of one folder, by name; folders inside it are passed over.

    Args:
        root: the folder.
        limit: keep only the first images.

    Raises:
        DatasetError: there is no such folder, or no image in it.
    """

    def __init__(self, root: Path, *, limit: int | None = None) -> None:
        found = sorted(path for path in root.iterdir() if is_image(path)) if root.is_dir() else []
        if not found:
            raise DatasetError(f"{root} is no folder of images ({', '.join(sorted(IMAGE_SUFFIXES))})")
        self._paths = found[:limit]

    @functools.cached_property
    def digest(self) -> str:
        """Hex sha256 over names and files."""
        digest = hashlib.sha256()
        for path in self._paths:
            digest.update(path.name.encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[ImageSample]:
        return (ImageSample(name=path.name, path=path) for path in self._paths)


def is_image(path: Path) -> bool:
    """Whether a file is called like an image."""
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
