"""What others wrote is shown, not obeyed."""

import pytest

from carrara.cli.terminal import cell, clean, shown


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("plain\n\ttext", "plain\n\ttext"),
        ("\x1b]52;c;ZXZpbA==\x07", "\ufffd]52;c;ZXZpbA==\ufffd"),
        ("\x1b[2Jgone", "\ufffd[2Jgone"),
        ("late\u202eevil", "late\ufffdevil"),
        ("\x9b31m", "\ufffd31m"),
    ],
)
def test_what_steers_a_terminal_is_taken_out(given: str, seen: str) -> None:
    assert clean(given) == seen


def test_markup_in_a_value_is_text() -> None:
    assert shown("[red]stop[/]") == r"\[red]stop\[/]"
    assert cell("[bold]x") == r"\[bold]x"
