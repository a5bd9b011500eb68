"""leaderboard.tex, read as text: whole tables, and nothing in them that LaTeX would take for a command."""

import re

import pytest

from bench import latex
from bench.summary import summary


def tables(records: list[dict]) -> list[str]:
    text = latex.leaderboard(summary(records))
    return re.findall(r"\\begin\{table\}.*?\\end\{table\}", text, re.DOTALL)


def lines(table: str) -> list[list[str]]:
    """Cells of the rows between the rules, heads first."""
    body = re.sub(r"\\(?:top|mid|bottom)rule|\\cmidrule.*", "", table.split("@{}}\n")[1].split(r"\end{tabular}")[0])
    return [re.split(r"(?<!\\) & ", row) for row in body.split(r"\\") if row.strip()]


def test_a_table_a_group_with_rules_caption_and_label(everything):
    found = tables(everything)
    assert len(found) == len(summary(everything))
    for table in found:
        for command in ("toprule", "midrule", "bottomrule", "caption", "label"):
            assert table.count(f"\\{command}") == 1
        assert (
            table.index(r"\sbox0{\begin{tabular}")
            < table.index(r"\end{tabular}}%")
            < table.index(r"\ifdim\wd0>\linewidth")
        )
    assert len({re.search(r"\\label\{(.*?)\}", table)[1] for table in found}) == len(found)


def test_every_row_has_a_cell_for_every_column(everything):
    for table in tables(everything):
        columns = re.search(r"\\begin\{tabular\}\{@\{\}([rl]+)@\{\}\}", table)[1]
        spanned, *rows = lines(table)
        across = int(re.search(r"multicolumn\{(\d+)\}", spanned[latex.LEADING.index("clean") + 1])[1])
        assert len(spanned) - 1 + across == len(columns)
        assert {len(row) for row in rows} == {len(columns)}


def test_numbers_are_those_of_the_summary(cell):
    records = [cell("mtrd"), cell("nominal")]
    (table,) = tables(records)
    (group,) = summary(records)
    *_, best, second = lines(table)
    assert best[1] == "mtrd" and best[2] == f"{group.rows[0].score.mean:.2f} $\\pm$ {_half(group.rows[0].score)}"
    assert second[3].startswith("$-$") and second[4] == r"\textless{}.001"
    assert best[6:10] == [f"{at.mean:.2f}" for at in group.rows[0].points.values()]
    assert "n = 12 chips a level and 1 training seed;" in table
    assert (
        r"higher is better" in table and r"\textdagger{}: a rank or difference that rests on one training seed" in table
    )


def _half(interval) -> str:
    return f"{interval.high - interval.mean:.2f}"


@pytest.mark.parametrize(
    "text, shown",
    [
        ("noise_injection", r"noise\_injection"),
        ("50% & $x$ #1", r"50\% \& \$x\$ \#1"),
        (r"\input{/etc/passwd}", r"\textbackslash{}input\{/etc/passwd\}"),
        ("a^b~c", r"a\textasciicircum{}b\textasciitilde{}c"),
        ("two\nlines\x1b", "two lines"),
        ("μ ☃", "? ?"),
    ],
)
def test_text_is_printed_as_it_is(text, shown):
    assert latex.escape(text) == shown


def test_a_hostile_name_is_text(cell):
    (table,) = tables([cell(r"\write18{rm}", settings={"a": "%"}), cell("nominal", status="failed")])
    assert r"\textbackslash{}write18\{rm\} a=\%" in table and r"\write" not in table
    assert "failed" in table
