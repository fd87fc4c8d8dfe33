"""What a run folder remembers, and what it does not believe."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from graphopt.core.errors import OutputError, UsageError
from graphopt.recipes.run_folder import RunFolder, StageRecord


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., StageRecord]:
    """Run a stage that writes one file, in a run that is opened anew each time."""

    def stage(text: str = "x", *, versions: Mapping[str, str] | None = None, **depends: Any) -> StageRecord:
        run = RunFolder(tmp_path / "run", "small", versions=versions)

        def work() -> Mapping[str, Any]:
            assert not run.path("file").exists() or run.path("file").read_text() != "spoilt"
            run.path("file").write_text(text)
            return {"length": len(text)}

        return run.stage("one", depends, work, outputs=("file",))

    return stage


def test_a_stage_is_done_once(write: Callable[..., StageRecord]) -> None:
    first = write("xyz", size=1)
    assert (first.reused, first.result) == (False, {"length": 3})
    second = write("would be another text", size=1)
    assert (second.reused, second.result, second.files) == (True, {"length": 3}, first.files)
    assert second.seconds == first.seconds


@pytest.mark.parametrize(
    "changes", [{"size": 2}, {"size": 1, "more": None}, {"size": 1, "versions": {"tool": "2"}}]
)
def test_it_is_done_again_when_anything_it_depends_on_changes(
    write: Callable[..., StageRecord], changes: dict[str, Any]
) -> None:
    write("a", size=1)
    assert not write("b", **changes).reused


def test_it_is_done_again_from_nothing_when_its_output_changed(
    write: Callable[..., StageRecord], tmp_path: Path
) -> None:
    write("a")
    (tmp_path / "run" / "file").write_text("spoilt")
    record = write("b")  # the work asserts that it does not find it
    assert (record.reused, (tmp_path / "run" / "file").read_text()) == (False, "b")
    (tmp_path / "run" / "file").unlink()
    assert not write("c").reused


def test_work_that_fails_is_not_remembered(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", "small")

    def work() -> Mapping[str, Any]:
        run.path("file").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.stage("one", {}, work, outputs=("file",))
    again = RunFolder(tmp_path / "run2", "small")
    assert not again.stage("one", {}, dict, outputs=()).reused


def test_every_file_of_a_folder_counts(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", "small")

    def work() -> Mapping[str, Any]:
        for name in ("a", "deep/b"):
            run.path(f"out/{name}").parent.mkdir(parents=True, exist_ok=True)
            run.path(f"out/{name}").write_text(name)
        return {}

    assert set(run.stage("one", {}, work, outputs=("out",)).files) == {"out/a", "out/deep/b"}
    assert run.stage("one", {}, work, outputs=("out",)).reused
    run.path("out/new").touch()
    assert not run.stage("one", {}, work, outputs=("out",)).reused
    assert not run.path("out/new").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"run_version": 1, "recipe": "small"}',
        '{"run_version": 1, "recipe": "small", "stages": [{}]}',
        '{"run_version": 1, "recipe": "small", "stages": [{"name": "one", "colour": 1}]}',
        "\x00",
    ],
)
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UsageError, match=r"run\.json is damaged .*choose another"):
        RunFolder(tmp_path, "small")
    assert (tmp_path / "run.json").read_text() == text


def test_records_of_another_layout_are_not_used(write: Callable[..., StageRecord], tmp_path: Path) -> None:
    write("a")
    place = tmp_path / "run" / "run.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "run_version": 2}))
    assert not write("b").reused


def test_folders_of_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file"):
        RunFolder(tmp_path / "file", "small")
    with pytest.raises(UsageError, match="not a run"):
        RunFolder(tmp_path, "small")
    RunFolder(tmp_path / "run", "small").stage("one", {}, dict, outputs=())
    with pytest.raises(UsageError, match="a run of small, not of deepmar"):
        RunFolder(tmp_path / "run", "deepmar")
