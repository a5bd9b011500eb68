"""Tables in a terminal: nothing of them is cut."""

import io

import pytest
from rich.console import Console

from bench import tabular

NUMBERS = ["p5", "worst", "yield", "EKL", "mW"]
ROW = ["noise_injection", "rram1t1r 0.75", "0", "3", "48.64", "48.60", "0%", "0.1151", "0.0961"]
NAMES = ["method", "trained on", "seeds", "chips", *(f"{name}\nat 1.5" for name in NUMBERS)]
ANSWERS = ["0.25", "\u2717 Trouser 0.29", "Sneaker 0.57", "\u2717 Dress 0.44", "Bag 0.27", "\u2717 Coat 0.28"]


@pytest.mark.parametrize("width", [72, 75, 77, 78, 79, 80, 81, 90, 200])
def test_no_number_is_cut_where_text_takes_room(width):
    out = io.StringIO()
    tabular.print_table(
        Console(file=out, width=width), NAMES, [ROW], keys=("method",), words=("method", "trained on"), title="t"
    )
    words = out.getvalue().split()
    assert all(word in words for cell in ROW for word in cell.split()), out.getvalue()
    assert max(map(len, out.getvalue().splitlines())) <= width


def test_what_wants_least_room_has_it_first():
    (table,) = tabular.tables(
        ["cell", "state", "key"],
        [["nominal on rram, mnist, seed 0", "no data", "0123456789abcdef"]],
        46,
        keys=("cell",),
        words=("cell", "state", "key"),
    )
    assert [column.width for column in table.columns] == [19, 7, 16]


@pytest.mark.parametrize("width", range(40, 90))
def test_no_word_is_cut_where_all_columns_are_text(width):
    out, names = io.StringIO(), [str(i) for i in range(len(ANSWERS))]
    tabular.print_table(Console(file=out, width=width), names, [ANSWERS], keys=("0",), words=names)
    words = out.getvalue().split()
    assert all(word in words for cell in ANSWERS for word in cell.split()), out.getvalue()
