"""Numbers in sentences, and sentences of docstrings for people."""


def counted(number: int, thing: str) -> str:
    """Return ``1 image`` or ``7 images``.

    Args:
        number: how many there are.
        thing: one of them; an ``s`` makes it several.
    """
    return f"{number:d} {thing}" if number == 1 else f"{number:d} {thing}s"


def without_markup(text: str) -> str:
    """Return a docstring's sentence as a terminal shows it: ``names`` without their backticks."""
    return text.replace("``", "")
