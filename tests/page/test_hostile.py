"""Whatever a record calls its task, device, method or machine: files stay in their folder, and names stay text."""

import csv
import io
import json
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from bench import frame, latex, leaderboard, limits, markdown, terminal
from bench.endings import printable
from bench.figures import literal
from bench.keys import key_of
from bench.labels import escape, short
from bench.page import data, render
from bench.reading import parse_record
from bench.store import Records
from bench.summary import summary

Record = dict[str, Any]

LONGEST = limits.NAME - 20  # with the name of a method behind it

NASTY = (
    "../../etc/passwd", "..", "/etc/passwd", "C:\\nul", ".hidden", "a\0b", "x" * LONGEST,
    "\x1b[31mred\x1b[0m", "\x1b]8;;file:///etc/passwd\x07x", "\x9b31m", "\r\n", "a\nb", "\u2028",
    "\u202egpj.exe", "\ufeff",
    "</script><script>alert(1)</script>", "<!--<script>", "<img src=x onerror=alert(1)>", "&lt;b&gt;", "]]>",
    "# heading", "## ", "- item", "+ item", "1. item", "2) item", "---", "===", "> quote", "```", "`", "``a`",
    "    code",
    "a | b", "|---|", "\\|", "\\", "*b*", "__b__", "_i_", "~~s~~", "[a](http://b.example)", "![a](http://b.example/c.png)",
    "http://b.example", "HTTPS://b.example", "www.b.example", "a@b.example", "<http://b.example>",
    "[a]: http://b.example",
    "\\input{/etc/passwd}", "\\write18{id}", "$x$", "${", "50% off", "a & b", "{", "}}", "^^5c", "#1", "~",
    "=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(A1)", "'", '"', '",', "%s %(x)s {0} {x}", "None", "",
)  # fmt: skip
parts = st.one_of(st.sampled_from(NASTY), st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
names = st.lists(parts, min_size=1, max_size=2).map("".join).map(lambda text: text[:LONGEST])


def named(cell: Callable[..., Record], name: str) -> list[Record]:
    """Two finished records of one table and a failed one, with `name` wherever a record has text of its own."""
    made = [
        cell("nominal", power_w=1e-3),
        cell("mtrd", settings={name: name}, device_settings=None, power_w=2e-3),
        cell("vant", status="failed"),
    ]
    for i, record in enumerate(made):
        e = record["evaluation"]
        t = e["training"]
        t |= {"task": name, "network": name, "task_version": name, "recipe": name, "precision": name}
        t |= {"method": name + t["method"], "method_version": name} | ({"device": name} if i else {})
        e |= {"device": name, "device_version": name, "preset": name, "device_settings": {name: name}}
        record["task"] |= {"name": name, "dataset": name, "metric": name, "unit": name}
        record["axis"] = {"name": name, "unit": name}
        record["command"] = record["environment"]["hardware"] = record["environment"]["created"] = name
        record["environment"] |= {"commit": name, name: [name, {name: name}]}
        if record["status"] == "done":
            answers = 1 + len(record["levels"])
            sample = {"given": name, "wanted": name, "answers": [name] * answers, "right": [False] * answers}
            record["samples"] = [sample] * 2
        record["key"] = key_of(e)
        record["error"] = name if record["status"] == "failed" else None
    return [parse_record(json.dumps(record).encode(), "it") for record in made]


def obeyed(text: str) -> list[str]:
    """Characters that a terminal obeys or that turn text around, line ends aside."""
    return [c for c in text if unicodedata.category(c)[0] == "C" and c != "\n"]


def blocks(text: str) -> list[str]:
    """What a Markdown document is made of, without its words. Every word must be text, or a name of ours."""
    found = []
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text):
        found.append(f"{token.tag} {token.type}")
        for part in token.children or ():
            assert part.type in ("text", "code_inline", "softbreak", "hardbreak", "image", "text_special"), part
            if part.type == "image":
                assert re.fullmatch(r"(plots|pictures)/[A-Za-z0-9_.-]+\.png", str(part.attrs["src"]))
    return found


def commands(tex: str) -> set[str]:
    return set(re.findall(r"\\(?:[A-Za-z]+|.)", tex))


@settings(max_examples=15)
@given(name=names)
@example(name="x" * LONGEST)
@example(name="".join(NASTY)[-LONGEST:])
def test_a_name_is_text_in_every_table(cell: Callable[..., Record], name: str) -> None:
    records, usual = named(cell, name), named(cell, "word")
    groups, expected = summary(records), summary(usual)

    assert blocks(markdown.leaderboard(groups)) == blocks(markdown.leaderboard(expected))
    shown = re.sub(r"(`+) .*? \1|`[^`]*`", "", escape(name))
    assert not re.search(r"://|(?i:www\.)|@", shown), "GitHub makes a link of it"

    tex, plain_tex = latex.leaderboard(groups), latex.leaderboard(expected)
    assert commands(tex) <= commands(plain_tex) | {c for text in latex.SPECIAL.values() for c in commands(text)}
    bare = re.sub(r"\\.", "", tex)
    assert bare.count("{") == bare.count("}") and tex.count("\n") == plain_tex.count("\n")
    for special in "&%#$_^~":
        extra = (
            2 * len(re.findall(r"\$[^$]*\$", bare)) if special == "$" else re.sub(r"\\.", "", plain_tex).count(special)
        )
        assert bare.count(special) == extra, special

    page = render._lines(data.collect(records, groups))
    assert not set("<>&") & set(page) and page.isascii() and not obeyed(page) and json.loads(page)["groups"]

    table = io.StringIO(newline="")
    frame.table(records).to_csv(table, index=False)
    rows = list(csv.reader(io.StringIO(table.getvalue(), newline="")))
    assert {len(row) for row in rows} == {len(frame.COLUMNS)} and len(rows) == 1 + 3 * 4
    assert not obeyed(table.getvalue())
    for cell_ in (cell_ for row in rows[1:] for cell_ in row):
        assert not cell_.startswith(("=", "+", "@")) and (cell_[:1] != "-" or float(cell_) < 0), cell_

    for show in (terminal.render, terminal.advice):
        printed = Console(file=io.StringIO(), width=100)
        show(records, printed)
        assert not obeyed(printed.file.getvalue())  # type: ignore[attr-defined]
    for record in records:
        printed = Console(file=io.StringIO(), width=100)
        terminal.record(record, printed, Path("results"))
        assert not obeyed(printed.file.getvalue())  # type: ignore[attr-defined]


@settings(max_examples=40)
@given(name=names)
def test_a_name_leads_to_a_file_in_the_folder_and_to_no_other(cell: Callable[..., Record], name: str) -> None:
    records = named(cell, name)
    folder = Path("results") / "records"
    files = [Records(Path("results")).path(record) for record in records]
    files += [folder / f"{slug}.png" for g in summary(records) for slug in (g.slug, g.power_slug, g.ties_slug)]
    for path in files:
        assert path.parent == folder and re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", path.name)
        assert len(path.name) < 200  # 255 less what a temporary name takes


def test_groups_whose_names_differ_have_files_that_differ(cell: Callable[..., Record]) -> None:
    tasks = ["a/b", "a?b", "a\\b", "x" * 900 + "1", "x" * 900 + "2", "a b", "A/B"]
    slugs = [group.slug.lower() for group in summary([cell(task=task) for task in tasks])]
    assert len(set(slugs)) == len(tasks)
    (usual,) = summary([cell("mtrd", preset="quick*")])
    assert re.fullmatch(r"quick_-cifar10-vgg8-rram-[0-9a-f]{8}", usual.slug), "as it was, so that links stay right"


def test_text_that_is_too_long_for_a_figure_is_cut_and_still_differs() -> None:
    long = "y" * 10_000
    assert short("x" * limits.LABEL) == "x" * limits.LABEL
    assert len(short(long)) < limits.LABEL + 20 and short(long) != short(long + "z")
    assert len(literal("$" * 10_000)) <= 2 * limits.LABEL + 20


def test_a_report_of_hostile_names_is_whole_and_in_its_folder(cell: Callable[..., Record], tmp_path: Path) -> None:
    results = tmp_path / "deep" / "results"
    for record in named(cell, "../../../$x_{$ \x1b[31m</script>%"):
        Records(results).save(record)
    _, warnings, written = leaderboard.remake(results)
    assert not warnings and len(list((results / "records").iterdir())) == 3
    assert all(path.resolve().is_relative_to(results) and path.stat().st_size for path in written)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} >= set(written)
    assert [path.name for path in tmp_path.iterdir()] == ["deep"] and list((tmp_path / "deep").iterdir()) == [results]


def test_an_error_and_a_warning_are_printed_without_what_a_terminal_obeys(
    cell: Callable[..., Record], tmp_path: Path, cli: Callable[..., Any]
) -> None:
    assert printable("a\x1b[31m\x07\u202eb\nc\x9b") == "a [31m  b\nc "
    record = cell("mtrd", status="failed") | {"error": "\x1b[2J gone", "command": "bench 'run \x1b[2J"}
    Records(tmp_path).save(record)
    for command in ("verify", "show"):
        ended = cli(command, record["key"], "--results", tmp_path)
        assert not obeyed(ended.out + ended.err)
    Records(tmp_path).save(record | {"status": "done"} | {k: cell("mtrd")[k] for k in ("levels", "clean")})
    ended = cli("verify", record["key"], "--results", tmp_path)
    assert ended.code == 2 and "its command is none" in ended.err and not obeyed(ended.err)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key": "../../../../tmp/x"}, "key is '../../../../tmp/x', must be 16 of 0-9a-f"),
        ({"training_key": "../../secret"}, "training_key is '../../secret', must be 16 of 0-9a-f"),
        ({"key": "0123456789ABCDEF"}, "must be 16 of 0-9a-f"),
        ({"axis": {"name": "x" * (limits.NAME + 1), "unit": ""}}, "name has 1,001 letters, must have at most 1,000"),
        ({"sweep_seconds": "1"}, "sweep_seconds is '1', must be int | float"),
        ({"training_environment": []}, r"training_environment is \[\], must be dict"),
        ({"more": "x" * limits.RECORD}, "16 MiB, at most 16 are read"),
    ],
)
def test_a_record_that_could_do_harm_is_refused(cell: Callable[..., Record], change: Record, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_record(json.dumps(cell() | change).encode(), "it")
