from pathlib import Path
from typing import Any

import pytest

from graphopt.validate.inputs.verdict import CAUSES, InputCause, InputOutcome, InputVerdict

DOCS = Path(__file__).resolve().parents[3] / "docs" / "inputs.md"


def verdict(outcome: InputOutcome, *names: str, **fields: Any) -> InputVerdict:
    causes = tuple(InputCause(name=name, sentence=f"{name} differs") for name in names)
    numbers: Any = {"sentence": "", "images": 4, "equal": 1, "dtype": "float32", "causes": causes, **fields}
    return InputVerdict(outcome=outcome, **numbers)


def alternatives(*sets: tuple[str, ...]) -> tuple[tuple[InputCause, ...], ...]:
    return tuple(tuple(InputCause(name=name, sentence="") for name in each) for each in sets)


@pytest.mark.parametrize(
    ("found", "cause", "ok"),
    [
        (verdict(InputOutcome.EXACT), "exact", True),
        (verdict(InputOutcome.ROUNDING), "rounding", True),
        (verdict(InputOutcome.UNKNOWN), "unknown", False),
        (verdict(InputOutcome.NAMED, "mean", "layout"), "mean + layout", False),
        (verdict(InputOutcome.PARTLY, "mean"), "mean + unknown", False),
        (
            verdict(InputOutcome.AMBIGUOUS, alternatives=alternatives(("mean", "std"), ("channel_order",))),
            "mean + std or channel_order",
            False,
        ),
        (
            verdict(InputOutcome.AMBIGUOUS, "layout", alternatives=alternatives(("mean",), ("scale",))),
            "layout + (mean or scale)",
            False,
        ),
    ],
)
def test_a_verdict_has_one_word(found: InputVerdict, cause: str, *, ok: bool) -> None:
    assert found.cause == cause
    assert found.ok is ok
    assert found.to_json()["cause"] == cause


def test_the_title_counts() -> None:
    assert verdict(InputOutcome.UNKNOWN).title == "1 of 4 inputs equal to the recipe's"
    assert verdict(InputOutcome.EXACT, equal=4).title == "4 inputs equal to the recipe's"


@pytest.mark.skipif(not DOCS.is_file(), reason="an installed wheel has no documents")
def test_every_cause_is_documented() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert [name for name, meaning in CAUSES.items() if f"| `{name}` | {meaning} |" not in text] == []
