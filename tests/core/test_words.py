import pytest

from graphopt.core.words import counted


@pytest.mark.parametrize(("number", "text"), [(0, "0 images"), (1, "1 image"), (7, "7 images")])
def test_one_thing_is_no_plural(number: int, text: str) -> None:
    assert counted(number, "image") == text
