"""A pipeline's folder: what each stage made, from what, and whether it still holds.

``run.json`` records for every stage the hash of what it depends on and of what it wrote. A stage
is reused only when both agree with the disk; anything else runs it again.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from graphopt import __version__
from graphopt.core.errors import OutputError, UsageError
from graphopt.core.files import output_errors, sha256_of, write_json

RUN_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """What one stage did.

    Attributes:
        name: of the stage.
        key: sha256 over everything the stage depends on.
        files: sha256 of each written file, by path relative to the run.
        seconds: how long the work took when it was done.
        result: plain data that later stages and the report read.
        reused: whether this run found it done.
    """

    name: str
    key: str
    files: dict[str, str]
    seconds: float
    result: dict[str, Any] = field(default_factory=dict)
    reused: bool = False


class RunFolder:
    """The folder of one pipeline run.

    Args:
        folder: created when absent.
        recipe: whose run it is; another recipe's folder is refused.
        versions: of the tools that take part; another one runs every stage again.

    Raises:
        UsageError: the folder belongs to another recipe or holds something else.
        OutputError: it cannot be written.
    """

    def __init__(self, folder: Path, recipe: str, *, versions: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._recipe = recipe
        self._versions = dict(versions or {})
        self._records: dict[str, StageRecord] = {}
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is a file; give a folder with -o")
        with output_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._read()

    def stage(
        self,
        name: str,
        depends: Mapping[str, Any],
        work: Callable[[], Mapping[str, Any]],
        *,
        outputs: tuple[str, ...],
    ) -> StageRecord:
        """Do the work of a stage unless its result is there and still valid.

        Args:
            name: of the stage.
            depends: plain data: parents' hashes, options, versions.
            work: writes ``outputs`` and returns plain data.
            outputs: files or folders the work writes, relative to the run.
        """
        key = self.key(depends)
        old = self._records.get(name)
        if old is not None and old.key == key and self._intact(old, outputs):
            record = StageRecord(**{**asdict(old), "reused": True})
        else:
            if old is not None and old.key == key:
                self._discard(outputs)  # not what the stage wrote: nothing may go on from it
            start = time.perf_counter()
            result = dict(work())
            seconds = time.perf_counter() - start
            files = self._hashes(outputs)
            record = StageRecord(name=name, key=key, files=files, seconds=seconds, result=result)
        self._records[name] = record
        self._write()
        return record

    def holds(self, name: str, depends: Mapping[str, Any], *, outputs: tuple[str, ...]) -> bool:
        """Whether the result of a stage is there and still valid; arguments are those of ``stage``."""
        old = self._records.get(name)
        return old is not None and old.key == self.key(depends) and self._intact(old, outputs)

    def result(self, name: str) -> dict[str, Any]:
        """Return the plain data that a stage left; empty when there is no such stage."""
        record = self._records.get(name)
        return dict(record.result) if record is not None else {}

    def key(self, depends: Mapping[str, Any]) -> str:
        """Return the hex sha256 over what a stage depends on and the versions."""
        content = {"graphopt": __version__, "versions": self._versions, **depends}
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()

    def path(self, relative: str) -> Path:
        """Return the place of a run's file."""
        return self.folder / relative

    def _hashes(self, outputs: tuple[str, ...]) -> dict[str, str]:
        hashes = {}
        for output in outputs:
            place = self.folder / output
            files = sorted(item for item in place.rglob("*") if item.is_file()) if place.is_dir() else [place]
            for item in files:
                hashes[item.relative_to(self.folder).as_posix()] = sha256_of(item)
        return hashes

    def _discard(self, outputs: tuple[str, ...]) -> None:
        for place in (self.folder / output for output in outputs):
            with output_errors(place):
                if place.is_dir():
                    shutil.rmtree(place)
                else:
                    place.unlink(missing_ok=True)

    def _intact(self, record: StageRecord, outputs: tuple[str, ...]) -> bool:
        present = all((self.folder / name).exists() for name in [*outputs, *record.files])
        return present and self._hashes(outputs) == record.files

    def _read(self) -> None:
        place = self.folder / "run.json"
        if not place.is_file():
            if any(self.folder.iterdir()):
                raise UsageError(f"{self.folder} is not empty and not a run; choose another folder with -o")
            return
        try:
            content = json.loads(place.read_text(encoding="utf-8"))
            version, recipe = content["run_version"], content["recipe"]
            records = {item["name"]: StageRecord(**{**item, "reused": False}) for item in content["stages"]}
        except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise UsageError(
                f"{place} is damaged ({error}); delete the folder, or choose another with -o"
            ) from error
        if recipe != self._recipe:
            raise UsageError(
                f"{self.folder} is a run of {recipe}, not of {self._recipe}; choose another with -o"
            )
        if version == RUN_VERSION:
            self._records = records

    def _write(self) -> None:
        stages = [asdict(record) for record in self._records.values()]
        content = {"run_version": RUN_VERSION, "recipe": self._recipe, "stages": stages}
        write_json(self.folder / "run.json", content)
