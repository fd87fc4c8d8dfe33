"""What running a data set costs beyond the model itself: graphopt's threads, a plain loop, a DataLoader.

``python benchmarks/pipeline_overhead.py [CASE ...] [--filled FOLDER] [--images 12] [--repeat 3]``

A case is a raw graph (``deepmar``, ``refinenet``, ``fcos``, ``nas_fpn``) in onnxruntime on this machine's
processors, or ``RECIPE@RATE``: a device beside them that answers RATE images a second and needs no processor
meanwhile, as an NPU does (``fcos@58`` is the published rate of a 310P3). The model's own time is that for
samples that lie in memory; the others begin with image files and end with all answers in memory. The code by
hand is that of ``by_hand.py``.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import numpy as np
from by_hand import BARE, whole, write_pictures
from preprocessing import Paths

from graphopt.core.session import OnnxRuntimeSession, Session
from graphopt.core.tensors import Array, TensorSpec
from graphopt.recipes.catalogue import find_recipe
from graphopt.recipes.named_outputs import predict_named
from graphopt.recipes.recipe import Recipe
from graphopt.runtime.datasets.image_folder import ImageFolder

SHARED = Path(__file__).resolve().parents[2] / "shared"
GRAPHS = {"deepmar": "deepmar_bs1", "refinenet": "refinenet", "fcos": "fcos", "nas_fpn": "nas_fpn"}
CASES = (*GRAPHS, "fcos@58", "nas_fpn@100", "deepmar@300")


class Device:
    """A session that takes its time and no processor."""

    def __init__(self, recipe: Recipe, rate: float) -> None:
        spec = recipe.inputs[0]
        self.inputs = (TensorSpec(name=spec.name, shape=(1, *spec.shape[1:]), dtype=spec.dtype),)
        self.outputs = (TensorSpec(name="sum", shape=(1,), dtype="float32"),)
        self._seconds = 1 / rate

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:  # noqa: ARG002  the protocol's signature
        time.sleep(self._seconds)
        return {"sum": np.zeros(1, np.float32)}

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"default: {', '.join(CASES)}")
    parser.add_argument("--filled", type=Path, help="folder of the graphs with their weights")
    parser.add_argument("--images", type=int, default=12, help="for a device ten times as many")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--markdown", type=Path, help="append the table there, too")
    options = parser.parse_args()
    lines = [
        f"medians of {options.repeat} turns",
        "",
        "| case | model alone, ms per image | graphopt | plain loop | DataLoader, 2 workers | CPU |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory(prefix="graphopt-bench-") as scratch:
        for case in options.cases or CASES:
            name, _, rate = case.partition("@")
            if name not in BARE or not (rate or name in GRAPHS):
                parser.error(f"unknown case {case}; there are {', '.join(CASES)}")
            recipe = find_recipe(name)
            count = options.images * (10 if rate else 1)
            folder = write_pictures(name, Path(scratch) / case, count)[0].parent
            with _session(recipe, rate, options.filled or SHARED / "filled") as session:
                lines.append(_row(case, session, recipe, folder, count, options.repeat, options.workers))
            print(lines[-1], flush=True)
    if options.markdown:
        with options.markdown.open("a", encoding="utf-8") as stream:
            stream.write("\n".join(lines) + "\n")


def _session(recipe: Recipe, rate: str, filled: Path) -> Session:
    if rate:
        return Device(recipe, float(rate))
    return OnnxRuntimeSession(filled / f"{GRAPHS[recipe.name]}.onnx", optimize=True)


def _row(
    case: str,
    session: Session,
    recipe: Recipe,
    folder: Path,
    count: int,
    repeat: int,
    workers: int | None,
) -> str:
    dataset = ImageFolder(folder, limit=count)
    paths = [sample.path for sample in dataset]
    name = session.inputs[0].name
    ready = [whole(recipe.name, path)[np.newaxis] for path in paths[:12]]

    def alone() -> None:
        for number in range(count):
            session.run({name: ready[number % len(ready)]})

    def loop() -> None:
        kept = [session.run({name: whole(recipe.name, path)[np.newaxis]}) for path in paths]
        assert len(kept) == count

    def ours() -> None:
        predict_named(session, dataset, recipe, workers=workers)

    ways: dict[str, Callable[[], None]] = {"alone": alone, "graphopt": ours, "loop": loop}
    if find_spec("torch"):
        ways["loader"] = _loader(session, name, Paths(recipe.name, paths))
    times: dict[str, list[float]] = {way: [] for way in ways}
    cpu: dict[str, list[float]] = {"alone": [], "graphopt": []}
    session.run({name: ready[0]})
    for way, call in [*ways.items()] * repeat:
        start, start_cpu = time.perf_counter(), time.process_time()
        call()
        times[way].append((time.perf_counter() - start) / count)
        if way in cpu:
            cpu[way].append((time.process_time() - start_cpu) / count)
    own = statistics.median(times.pop("alone"))
    over = [f"{statistics.median(values) / own - 1:+.0%}" for values in times.values()]
    alone_cpu, ours_cpu = (statistics.median(values) for values in cpu.values())
    beside = isinstance(session, Device)
    more = f"{ours_cpu * 1e3:.1f} ms" if beside else f"{ours_cpu / alone_cpu - 1:+.0%}"
    return f"| {case} | {own * 1e3:.1f} | {' | '.join([*over, '-'][:3])} | {more} |"


def _loader(session: Session, name: str, dataset: Paths) -> Callable[[], None]:
    from torch.utils.data import DataLoader

    loader: Any = DataLoader(dataset, batch_size=1, num_workers=2, persistent_workers=True)
    list(loader)  # starts the workers

    def run() -> None:
        for batch in loader:
            session.run({name: batch.numpy()})

    return run


if __name__ == "__main__":
    main()
