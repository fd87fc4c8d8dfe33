import pytest

from graphopt.compile.support.releases import Release, named_opsets, parse_release
from graphopt.core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected", "shown"),
    [
        ("6.0.1", Release(6, 0), "6.0.1"),
        ("7.0", Release(7, 0), "7.0"),
        ("8.0.RC2", Release(8, 0), "8.0.RC2"),
        ("8.0.rc2.2", Release(8, 0), "8.0.RC2"),
        ("CANN 5.0.4", Release(5, 0), "5.0.4"),
        (" v9.2 ", Release(9, 2), "9.2"),
    ],
)
def test_releases_are_read_as_people_write_them(text: str, expected: Release, shown: str) -> None:
    assert parse_release(text) == expected
    assert str(parse_release(text)) == shown


@pytest.mark.parametrize("text", ["", "6", "six", "6.0.1.x y", "310P3", "6,0"])
def test_what_is_no_release_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"6\.0\.1"):
        parse_release(text)


def test_releases_are_ordered_by_their_two_first_numbers() -> None:
    assert Release(5, 1) < Release(6, 0) < Release(7, 0, "7.0.0") < Release(9, 10)
    assert Release(7, 0, "7.0.0") == Release(7, 0, "7.0.RC1")
    assert hash(Release(7, 0, "7.0.0")) == hash(Release(7, 0))
    assert Release(7, 0) != "7.0"


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("4.9", None),
        ("5.0.4", (9, 13)),
        ("6.0.1", None),
        ("7.0", (9, 18)),
        ("8.2", (9, 18)),
        ("9.2", (11, 18)),
    ],
)
def test_documents_name_opsets_of_some_releases(release: str, expected: tuple[int, int] | None) -> None:
    found = named_opsets(parse_release(release))
    assert (found and (found.low, found.high)) == expected
