"""Tables for people: whole in a pipe, folded where it hurts least on a terminal."""

import re
import sys
from collections.abc import Callable

import pytest

from graphopt.cli.render import print_table

Show = Callable[[int], str]
HEADS = ["pass", ">sites", ">nodes", "what"]
ROWS = [["remove_identity_pool", 3, "1234 -> 1231", "their windows are one element " * 4]]


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Show:
    def run(columns: int) -> str:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        monkeypatch.setenv("COLUMNS", str(columns))
        print_table("", HEADS, ROWS)
        return re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)

    return run


def test_a_pipe_gets_one_line_per_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("", HEADS, ROWS)
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize("columns", [60, 120])
def test_names_and_numbers_stay_whole_where_the_text_can_fold(show: Show, columns: int) -> None:
    text = show(columns)
    assert "remove_identity_pool" in text
    assert "1234 -> 1231" in text
    assert " ".join(text.split()).count("element") > 0
    assert max(map(len, text.splitlines())) <= columns


def test_where_nothing_fits_everything_folds_and_nothing_is_cut(show: Show) -> None:
    letters = "".join(line[1:9].strip() for line in show(24).splitlines())
    assert "entity" in letters.replace("remove_id", "")
