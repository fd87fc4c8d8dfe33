"""An output appears whole or not at all, and nothing else is touched."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from graphopt.core.errors import OutputError
from graphopt.core.files import atomic_file, atomic_folder, check_output, sha256_of, write_json, write_text


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


class TestAtomicFile:
    def test_the_file_appears_when_the_block_ends(self, tmp_path: Path) -> None:
        target = tmp_path / "out"
        with atomic_file(target, force=False) as temporary:
            temporary.write_text("new")
            assert temporary.parent == tmp_path
            assert not target.exists()
        assert target.read_text() == "new"
        assert _names(tmp_path) == {"out"}

    @pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit])
    def test_a_failure_leaves_the_old_file(self, tmp_path: Path, failure: type[BaseException]) -> None:
        target = tmp_path / "out"
        target.write_text("old")

        def fail() -> None:
            with atomic_file(target, force=True) as temporary:
                temporary.write_text("half")
                raise failure

        with pytest.raises(failure):
            fail()
        assert target.read_text() == "old"
        assert _names(tmp_path) == {"out"}

    def test_force_replaces_and_its_absence_does_not(self, tmp_path: Path) -> None:
        target = tmp_path / "out"
        target.write_text("old")
        with pytest.raises(OutputError, match="exists; use --force"), atomic_file(target, force=False):
            pytest.fail("the block must not run")
        with atomic_file(target, force=True) as temporary:
            temporary.write_text("new")
        assert target.read_text() == "new"

    def test_what_another_run_wrote_meanwhile_is_not_replaced(self, tmp_path: Path) -> None:
        target = tmp_path / "out"

        def slow() -> None:
            with atomic_file(target, force=False) as mine:
                mine.write_text("slow")
                with atomic_file(target, force=False) as theirs:
                    theirs.write_text("fast")

        with pytest.raises(OutputError, match="exists; use --force"):
            slow()
        assert target.read_text() == "fast"
        assert _names(tmp_path) == {"out"}

    def test_a_block_that_writes_nothing_is_an_error(self, tmp_path: Path) -> None:
        with (
            pytest.raises(OutputError, match="cannot be written"),
            atomic_file(tmp_path / "out", force=False),
        ):
            pass
        assert _names(tmp_path) == set()

    @pytest.mark.parametrize(
        ("number", "reason"),
        [
            (errno.ENOSPC, "the disk is full: {path} was not written; free some space"),
            (errno.EDQUOT, "the disk is full"),
            (errno.EROFS, "no permission to write {path}"),
            (errno.EACCES, "no permission to write {path}"),
            (errno.EIO, "{path} cannot be written: Input/output error"),
        ],
    )
    def test_system_errors_become_sentences(self, tmp_path: Path, number: int, reason: str) -> None:
        target = tmp_path / "out"

        def fail() -> None:
            with atomic_file(target, force=False) as temporary:
                temporary.write_text("half")
                raise OSError(number, os.strerror(number))

        with pytest.raises(OutputError) as caught:
            fail()
        assert reason.format(path=target) in str(caught.value)
        assert _names(tmp_path) == set()

    def test_a_full_disk_while_flushing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        (tmp_path / "out").write_text("old")
        with pytest.raises(OutputError, match="the disk is full"):
            write_text(tmp_path / "out", "new")
        assert (tmp_path / "out").read_text() == "old"
        assert _names(tmp_path) == {"out"}

    def test_errors_of_other_files_keep_their_own_message(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="inner"), atomic_file(tmp_path / "outer", force=False):
            raise OutputError("inner is the one")

    def test_a_name_too_long(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="is too long for this file system"):
            write_text(tmp_path / ("x" * 250), "new")
        with pytest.raises(OutputError, match="is too long for this file system"):
            write_text(tmp_path / ("x" * 300), "new")
        assert _names(tmp_path) == set()

    def test_leftovers_of_dead_processes_go_and_those_of_the_living_stay(self, tmp_path: Path) -> None:
        dead = tmp_path / f".out.{_dead_pid()}.00ff00ff.tmp"
        dead.write_text("half")
        dead_folder = tmp_path / f".out.{_dead_pid()}.00ff00fe.tmp"
        dead_folder.mkdir()
        living = tmp_path / f".out.{os.getppid()}.00ff00ff.tmp"
        living.write_text("half")
        other = tmp_path / f".other.{_dead_pid()}.00ff00ff.tmp"
        other.write_text("half")

        write_text(tmp_path / "out", "new")

        assert _names(tmp_path) == {"out", living.name, other.name}

    def test_the_target_of_a_link_is_not_written_through(self, tmp_path: Path) -> None:
        (tmp_path / "real").write_text("real")
        (tmp_path / "link").symlink_to(tmp_path / "real")
        write_text(tmp_path / "link", "new")
        assert (tmp_path / "real").read_text() == "real"
        assert (tmp_path / "link").read_text() == "new"

    def test_permissions_are_those_of_any_new_file(self, tmp_path: Path) -> None:
        write_text(tmp_path / "out", "new")
        (tmp_path / "plain").write_text("new")
        assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


class TestAtomicFolder:
    def test_the_folder_appears_when_the_block_ends(self, tmp_path: Path) -> None:
        target = tmp_path / "new" / "out"
        with atomic_folder(target, force=False) as temporary:
            (temporary / "file").write_text("new")
            assert not target.exists()
        assert _names(target) == {"file"}
        assert _names(target.parent) == {"out"}

    @pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
    def test_a_failure_leaves_the_old_folder(self, tmp_path: Path, failure: type[BaseException]) -> None:
        target = tmp_path / "out"
        target.mkdir()
        (target / "old").touch()

        def fail() -> None:
            with atomic_folder(target, force=True) as temporary:
                (temporary / "half").touch()
                raise failure

        with pytest.raises(failure):
            fail()
        assert _names(target) == {"old"}
        assert _names(tmp_path) == {"out"}

    def test_force_replaces_and_its_absence_does_not(self, tmp_path: Path) -> None:
        target = tmp_path / "out"
        target.mkdir()
        (target / "old").touch()
        with pytest.raises(OutputError, match="exists; use --force"), atomic_folder(target, force=False):
            pytest.fail("the block must not run")
        with atomic_folder(target, force=True) as temporary:
            (temporary / "new").touch()
        assert _names(target) == {"new"}
        assert _names(tmp_path) == {"out"}

    def test_a_failing_rename_brings_the_old_folder_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        target = tmp_path / "out"
        target.mkdir()
        (target / "old").touch()
        rename = Path.rename

        def fail_last(self: Path, other: Path) -> Path:
            if self.name.endswith(".tmp") and other == target:
                raise OSError(errno.ENOSPC, "No space left on device")
            return rename(self, other)

        monkeypatch.setattr(Path, "rename", fail_last)
        with (
            pytest.raises(OutputError, match="the disk is full"),
            atomic_folder(target, force=True) as temporary,
        ):
            (temporary / "new").touch()
        assert _names(target) == {"old"}
        assert _names(tmp_path) == {"out"}

    @pytest.mark.parametrize("force", [True, False])
    def test_a_kill_between_the_renames_loses_nothing(self, tmp_path: Path, force: bool) -> None:
        aside = tmp_path / f".out.{_dead_pid()}.00ff00ff.tmp.old"
        aside.mkdir()
        (aside / "old").touch()
        block = atomic_folder(tmp_path / "out", force=force)
        if force:
            with pytest.raises(RuntimeError), block:
                raise RuntimeError
        else:
            with pytest.raises(OutputError, match="exists; use --force"), block:
                pytest.fail("the block must not run")
        assert _names(tmp_path) == {"out"}
        assert _names(tmp_path / "out") == {"old"}

    def test_a_file_is_not_replaced_by_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("mine")
        with pytest.raises(OutputError, match="is a file"), atomic_folder(tmp_path / "out", force=True):
            pytest.fail("the block must not run")
        assert (tmp_path / "out").read_text() == "mine"

    def test_no_permission(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(self: Path, *args: object, **options: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(Path, "mkdir", refuse)
        with (
            pytest.raises(OutputError, match="no permission to write"),
            atomic_folder(tmp_path / "a", force=False),
        ):
            pytest.fail("the block must not run")


class TestCheckOutput:
    def test_a_free_place_is_fine(self, tmp_path: Path) -> None:
        check_output(tmp_path / "out", force=False, inputs=(tmp_path / "in",))

    def test_folder(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="is a folder; give a file name with -o"):
            check_output(tmp_path, force=True)

    @pytest.mark.parametrize("kind", ["itself", "symbolic link", "hard link", "other spelling"])
    @pytest.mark.parametrize("force", [True, False])
    def test_the_input_under_any_name(self, tmp_path: Path, kind: str, force: bool) -> None:
        source = tmp_path / "in"
        source.write_text("mine")
        output = tmp_path / "out"
        if kind == "symbolic link":
            output.symlink_to(source)
        elif kind == "hard link":
            os.link(source, output)
        else:
            output = source if kind == "itself" else tmp_path / "." / ".." / tmp_path.name / "in"
        with pytest.raises(OutputError, match="is the input; an input is never overwritten"):
            check_output(output, force=force, inputs=(tmp_path / "no such input", source))
        assert source.read_text() == "mine"

    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match=r"the folder .*/sub does not exist; create it"):
            check_output(tmp_path / "sub" / "out", force=False)

    def test_a_file_where_a_folder_should_be(self, tmp_path: Path) -> None:
        (tmp_path / "sub").touch()
        with pytest.raises(OutputError, match="does not exist; create it"):
            check_output(tmp_path / "sub" / "out", force=False)

    def test_read_only_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tmp_path.chmod(0o500)
        if os.access(tmp_path, os.W_OK):  # root writes everywhere: say no in the system's place
            monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
        try:
            with pytest.raises(OutputError, match="no permission to write into"):
                check_output(tmp_path / "out", force=False)
        finally:
            tmp_path.chmod(0o700)

    def test_a_dangling_link_is_an_existing_file(self, tmp_path: Path) -> None:
        (tmp_path / "out").symlink_to(tmp_path / "nowhere")
        with pytest.raises(OutputError, match="exists; use --force"):
            check_output(tmp_path / "out", force=False)


def test_json_is_plain_and_refuses_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": "Größe", "values": [1, 2.5, None]})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"name": "Größe", "values": [1, 2.5, None]}
    assert (tmp_path / "a.json").read_text("utf-8").endswith("}\n")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "b.json", float("nan"))
    assert _names(tmp_path) == {"a.json"}


def test_digests_are_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "long").write_bytes(b"a" * (3 << 20))
    assert sha256_of(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sha256_of(tmp_path / "long") == "6f850bc94ae6f7de14297c01616c36d712d22864497b28a63b81d776b035e656"
