"""The catalogue of passes as one Markdown page."""

from collections.abc import Iterable, Iterator

from graphopt.surgery.catalogue import OptionInfo, PassInfo

COMMAND = "python -m graphopt passes --markdown > docs/passes.md"


def catalogue_page(passes: Iterable[PassInfo]) -> str:
    """Return the page: one section per pass, sorted by name; nothing in it depends on the machine."""
    listed = sorted(passes, key=lambda info: info.name)
    lines = [
        "# Passes",
        "",
        f"Written by `{COMMAND}`; do not edit.",
        "",
        "Each pass says what it does to the numbers. *exact*: equal up to the order of float sums, and",
        "checked on every run. *approximate*: within the bound given. *target only*: emits operators that",
        "only the target knows. *Seen in* names exported graphs on which it fires: raw graphs of real models",
        "and the specimens in `tests/specimens`; the tests run it there and compare the outputs. *By hand*",
        "is the name under which engineers know the change, with its row in a survey of what the authors of",
        "the Ascend model zoo change by hand before they compile.",
        "",
    ]
    for info in listed:
        lines += _section(info)
    lines.append(f"{len(listed)} passes.")
    return "\n".join(lines) + "\n"


def _section(info: PassInfo) -> Iterator[str]:
    yield f"## {info.name}"
    yield ""
    yield _code(info.summary)
    yield ""
    numbers = f"{info.effect}; {info.bound}" if info.bound else info.effect
    for word, text in (
        ("Numbers", numbers),
        ("Why", info.why),
        ("Before", info.before),
        ("After", info.after),
        ("Seen in", ", ".join(info.seen_in)),
        ("By hand", info.known_as),
    ):
        if text:
            yield f"- {word}: {_code(text)}"
    for option in info.options:
        yield f"- Option {_option(option)}"
    yield ""


def _option(option: OptionInfo) -> str:
    default = "required" if option.default is None else f"default `{option.default}`"
    if option.default == "":
        default = "empty by default"
    return f"`{option.name}` ({option.type}; {default}): {_code(option.doc)}"


def _code(text: str) -> str:
    return text.replace("``", "`")
