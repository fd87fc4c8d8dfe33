"""Time each recipe's preprocessing beside the same work written by hand, and ways to spread it.

``python benchmarks/preprocessing.py [RECIPE ...] [--images 24] [--repeat 9] [--workers 2] [--markdown FILE]``

First one image after the other in one thread, by its CPU time: by hand only decoded, resized and normalised
("bare"); by hand to the end (padded, channels first); and graphopt, to the end. The samples must be equal bit
by bit. Then all images by graphopt's threads, by a pool of processes, and by PyTorch's DataLoader over the
code by hand.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
from by_hand import BARE, whole, write_pictures

from graphopt.recipes.catalogue import find_recipe
from graphopt.runtime.ahead import in_order
from graphopt.runtime.preprocess import preprocess


class Paths:
    """What a DataLoader takes."""

    def __init__(self, recipe: str, paths: list[Path]) -> None:
        self._recipe, self._paths = recipe, paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Any:
        return whole(self._recipe, self._paths[index])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help=f"default: {', '.join(BARE)}")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--repeat", type=int, default=9, help="turns through all images")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--one-thread", action="store_true", help="leave the second table out")
    parser.add_argument("--markdown", type=Path, help="append the tables there, too")
    options = parser.parse_args()
    if unknown := set(options.recipes) - set(BARE):
        parser.error(f"unknown recipe {min(unknown)}; there are {', '.join(BARE)}")
    recipes = options.recipes or list(BARE)
    with tempfile.TemporaryDirectory(prefix="graphopt-bench-") as scratch:
        pictures = {name: write_pictures(name, Path(scratch) / name, options.images) for name in recipes}
        lines = [
            f"{options.images} drawn pictures each; medians of {options.repeat} turns",
            "",
            "| one thread, CPU ms per image | bare | by hand | graphopt | / bare | / by hand |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        cv2.setNumThreads(1)
        lines += [_one_by_one(name, pictures[name], options.repeat) for name in recipes]
        if options.one_thread:
            print("\n".join(lines))
            return
        lines += [
            "",
            "| images/s | one thread | threads (graphopt) | processes | DataLoader |",
            "|---|--:|--:|--:|--:|",
        ]
        lines += [_spread(name, pictures[name], options.repeat, options.workers) for name in recipes]
    text = "\n".join(lines)
    print(text)
    if options.markdown:
        with options.markdown.open("a", encoding="utf-8") as stream:
            stream.write(text + "\n")


def _one_by_one(recipe: str, paths: list[Path], repeat: int) -> str:
    steps = find_recipe(recipe).preprocessing
    for path in paths:
        if whole(recipe, path).tobytes() != preprocess(path, steps).tobytes():
            raise SystemExit(f"{recipe}: the samples of {path.name} differ")
    ways: dict[str, Callable[[Path], Any]] = {
        "bare": BARE[recipe],
        "by hand": partial(whole, recipe),
        "graphopt": partial(preprocess, steps=steps),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    # In turn, as a machine that slows down slows down all of them; but not image by image: the memory that
    # one leaves behind decides what the next has to ask the kernel for.
    for way, call in [*ways.items()] * repeat:
        for path in paths:
            start = time.thread_time()
            call(path)
            times[way].append(time.thread_time() - start)
    bare, hand, ours = (statistics.median(values) * 1e3 for values in times.values())
    return f"| {recipe} | {bare:.2f} | {hand:.2f} | {ours:.2f} | {ours / bare:.2f} | {ours / hand:.2f} |"


def _spread(recipe: str, paths: list[Path], repeat: int, workers: int) -> str:
    work = partial(preprocess, steps=find_recipe(recipe).preprocessing)
    fork = multiprocessing.get_context("spawn")
    rates: dict[str, list[float]] = {}
    with ProcessPoolExecutor(workers, mp_context=fork) as pool:
        list(pool.map(work, paths[: 2 * workers]))  # imports
        ways: dict[str, Callable[[], Iterable[Any]]] = {
            "one": lambda: map(work, paths),
            "threads": lambda: in_order(work, paths, workers=workers),
            "processes": lambda: pool.map(work, paths),
        }
        if find_spec("torch"):
            from torch.utils.data import DataLoader

            loader: Any = DataLoader(
                Paths(recipe, paths), batch_size=1, num_workers=workers, persistent_workers=True
            )
            list(loader)
            ways["loader"] = lambda: loader
        for _ in range(repeat):
            for way, call in ways.items():
                start = time.perf_counter()
                count = sum(1 for _ in call())
                rates.setdefault(way, []).append(count / (time.perf_counter() - start))
    figures = [f"{statistics.median(values):.0f}" for values in rates.values()]
    return f"| {recipe} | {' | '.join([*figures, '-'][:4])} |"


if __name__ == "__main__":
    main()
