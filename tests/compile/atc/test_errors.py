import re

import pytest

from graphopt.compile.atc.errors import CASES, EXPLANATIONS, FAMILIES, explanation_of


def test_every_explanation_is_complete() -> None:
    cases = {case.word: case.explanation for case in CASES}
    for code, explanation in {**EXPLANATIONS, **FAMILIES, **cases}.items():
        assert explanation.meaning, code
        assert explanation.remedy, code
        assert not explanation.remedy.endswith("."), code
        assert not explanation.meaning[0].isupper() or explanation.meaning.startswith(("ATC", "CANN")), code


def test_every_case_fills_in_only_what_its_pattern_finds() -> None:
    for case in CASES:
        groups = set(re.compile(case.pattern).groupindex) | {"name"}
        clauses = case.explanation.meaning + case.explanation.remedy
        assert set(re.findall(r"{(\w+)}", clauses)) <= groups, case.word


def test_words_of_cases_are_no_codes_and_each_is_used_once() -> None:
    words = [case.word for case in CASES]
    assert len(set(words)) == len(words)
    assert not any(re.fullmatch(r"[A-Z]\w\d{4}", word) for word in words)


@pytest.mark.parametrize(
    ("code", "known", "exact"),
    [("E10016", True, True), ("E10999", True, False), ("EZ0012", True, False), ("EX0001", False, False)],
)
def test_a_code_is_known_by_itself_or_by_its_family(code: str, known: bool, exact: bool) -> None:
    explanation, is_exact = explanation_of(code)
    assert (explanation is not None) is known
    assert is_exact is exact
