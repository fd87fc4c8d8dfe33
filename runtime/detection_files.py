"""Detections in files: COCO's result JSON, and the text files of the original recipes' scripts.

A text file is called like its image and holds a detection per line: class name, score, x1, y1, x2, y2.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from graphopt.core.errors import DatasetError
from graphopt.core.files import atomic_file, atomic_folder
from graphopt.runtime.decode.boxes import FoundObjects

Row = tuple[int, int, float, float, float, float, float]
"""Place of the image, label, x, y, width, height, score."""
_SHOWN = 5
_NUMBERS = 5
"""Of a line of text, behind the name."""


def write_coco_results(
    path: Path,
    found: FoundObjects,
    *,
    image_ids: Sequence[int],
    category_ids: Sequence[int],
    force: bool = True,
) -> None:
    """Write detections as pycocotools' ``loadRes`` reads them; numbers keep all their digits.

    Args:
        path: of the JSON file.
        found: the detections.
        image_ids: of the data set's images.
        category_ids: by label.
        force: replace an older file.

    Raises:
        OutputError: the file cannot be written, or exists without ``force``.
    """
    columns = (found.image, found.label, found.boxes, found.scores)
    with (
        atomic_file(path, force=force) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as stream,
    ):
        stream.write("[")
        separator = "\n"
        for image, label, box, score in zip(*(column.tolist() for column in columns), strict=True):
            row = {
                "image_id": image_ids[image],
                "category_id": category_ids[label],
                "bbox": box,
                "score": score,
            }
            stream.write(separator + json.dumps(row))
            separator = ",\n"
        stream.write("\n]\n")


def read_coco_results(path: Path, *, image_ids: Sequence[int], label_of: Mapping[int, int]) -> FoundObjects:
    """Read a file of results; detections of categories that the model has not are left out.

    Args:
        path: of the JSON file.
        image_ids: of the data set's images.
        label_of: category id -> label.

    Raises:
        DatasetError: the file is damaged, something else, or of other images.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} cannot be read as JSON: {error}; was it written to the end?") from error
    if not isinstance(content, list):
        raise DatasetError(f"{path} holds no list of results; is it an annotation file?")
    place = {image_id: i for i, image_id in enumerate(image_ids)}
    rows: list[Row] = []
    for number, item in enumerate(content):
        try:
            image_id, label = int(item["image_id"]), label_of.get(int(item["category_id"]))
            x, y, width, height = map(float, item["bbox"])
            score = float(item["score"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DatasetError(
                f"{path}: result {number} is no detection with image_id, category_id, bbox, score ({error})"
            ) from error
        if image_id not in place:
            raise DatasetError(f"{path}: result {number} is of image {image_id}, which the data set has not")
        if not all(map(math.isfinite, (x, y, width, height, score))):
            raise DatasetError(f"{path}: result {number} holds NaN or infinities")
        if label is not None:
            rows.append((place[image_id], label, x, y, width, height, score))
    return _found(rows)


def write_texts(folder: Path, found: FoundObjects, *, stems: Sequence[str], classes: Sequence[str]) -> None:
    """Write a text file per image, also for those without detections.

    Args:
        folder: replaced if it is there.
        found: the detections.
        stems: of the data set's images.
        classes: names by label.

    Raises:
        OutputError: the folder cannot be written.
    """
    lines: list[list[str]] = [[] for _ in stems]
    columns = (found.image, found.label, found.boxes, found.scores)
    for image, label, (x, y, width, height), score in zip(*(c.tolist() for c in columns), strict=True):
        lines[image].append(f"{classes[label]} {score!r} {x!r} {y!r} {x + width!r} {y + height!r}\n")
    with atomic_folder(folder, force=True) as temporary:
        for stem, text in zip(stems, lines, strict=True):
            (temporary / f"{stem}.txt").write_text("".join(text), encoding="utf-8")


def are_texts(folder: Path) -> bool:
    """Whether a folder's files look like those of the original scripts: lines that begin with a name."""
    files = sorted(folder.glob("*.txt")) if folder.is_dir() else []
    first = next((line for file in files for line in _lines(file)), "")
    return len(first.split()) > _NUMBERS and not _is_number(first.split()[0])


def read_texts(folder: Path, *, stems: Sequence[str], classes: Sequence[str]) -> FoundObjects:
    """Read a folder of text files, one for each image.

    Args:
        folder: of the files.
        stems: of the data set's images.
        classes: names by label; a name may hold blanks.

    Raises:
        DatasetError: an image has no file, a file no image, or a line is damaged.
    """
    files = {path.stem: path for path in sorted(folder.glob("*.txt"))}
    missing = [stem for stem in stems if stem not in files]
    extra = [stem for stem in files if stem not in set(stems)]
    if missing or extra:
        raise DatasetError(
            f"{folder}: {len(missing)} images without a file {missing[:_SHOWN]}, "
            f"{len(extra)} files without an image {extra[:_SHOWN]}"
        )
    label_of = {name: label for label, name in enumerate(classes)}
    rows: list[Row] = []
    for image, stem in enumerate(stems):
        for number, line in enumerate(_lines(files[stem]), start=1):
            words = line.split()
            name = " ".join(words[:-_NUMBERS])
            if name not in label_of or not all(map(_is_number, words[-_NUMBERS:])):
                raise DatasetError(
                    f"{files[stem]}, line {number}: expected a class of the model, score, x1, y1, x2, y2, "
                    f"got: {line[:80]}"
                )
            score, x1, y1, x2, y2 = map(float, words[-_NUMBERS:])
            rows.append((image, label_of[name], x1, y1, x2 - x1, y2 - y1, score))
    return _found(rows)


def _lines(path: Path) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read as text: {error}") from error
    return (line for line in text.splitlines() if line.strip())


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _found(rows: Sequence[Row]) -> FoundObjects:
    table = np.array(rows, np.float64).reshape(-1, 7)
    order = np.argsort(table[:, 0], kind="stable")  # by image; within one the order of the file decides ties
    table = table[order]
    return FoundObjects(
        image=table[:, 0].astype(np.int64),
        label=table[:, 1].astype(np.int64),
        boxes=table[:, 2:6].copy(),
        scores=table[:, 6].copy(),
    )
