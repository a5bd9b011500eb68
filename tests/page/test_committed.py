"""The committed page and tables are those of the committed records: `bench report` was run after the last change."""

import json
import re
import shlex
from pathlib import Path

import pytest

from bench import estimate, registry
from bench.groups import side_by_side
from bench.labels import remake
from bench.leaderboard import write_tables
from bench.store import Records
from bench.summary import summary
from tasks._base import Task

RESULTS = Path(__file__).parents[2] / "results"
NAMES = ("LEADERBOARD.md", "PUBLISHED.md", "leaderboard.csv", "leaderboard.tex", "report.html")


@pytest.fixture(scope="module")
def remade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what the committed records give, without plots."""
    folder = tmp_path_factory.mktemp("results")
    (folder / "pictures").symlink_to(RESULTS / "pictures")
    records, warnings = Records(RESULTS).load_all()
    assert warnings == []
    write_tables(folder, records, summary(records))
    return folder


def without_plotly(text: str) -> str:
    """The page but for the bundle of the charts' library, the last script, and its hash: they go with its version."""
    return re.sub(r"'sha256-[^']*'", "", text).rpartition("<script>")[0]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_committed_is_what_the_records_give(remade, name):
    committed, now = ((folder / name).read_text(encoding="utf-8") for folder in (RESULTS, remade))
    if name == "report.html":
        committed, now = map(without_plotly, (committed, now))
        assert len(now) > 400_000
    differing = [(a[:150], b[:150]) for a, b in zip(committed.split("\n"), now.split("\n"), strict=False) if a != b]
    assert differing[:3] == [] and committed == now, f"{name}: run `bench report`, and commit what it changes"


def test_every_plot_that_the_records_give_is_committed_and_no_other():
    groups = summary(Records(RESULTS).load_all()[0])
    groups = [*groups, *side_by_side(groups)]
    stems = {group.slug for group in groups if group.has_curve}
    stems |= {group.power_slug for group in groups if group.has_power}
    stems |= {group.ties_slug for group in groups if group.has_ties}
    expected = {f"{stem}{suffix}" for stem in stems for suffix in (".png", ".pdf")}
    found = {path.name for path in (RESULTS / "plots").iterdir() if not path.name.startswith("tuned-")}
    assert found == expected


def test_the_committed_page_answers_which_method_for_pcm_on_cifar10():
    """What the first section says of them, in the data that it is made of."""
    (text,) = re.findall(r'id="data">(.*?)</script>', (RESULTS / "report.html").read_text(encoding="utf-8"), re.DOTALL)
    groups = [g for g in json.loads(text)["groups"] if (g["task"], g["device"]) == ("cifar10", "pcm")]
    (group,) = [g for g in groups if g["preset"] == "standard" and not g["elsewhere"] and not g["over_time"]]
    use = group["rows"][group["use"]]
    assert use["rank"] == 1 and use["score"][2] - use["score"][1] < 5, "which, how good, how sure"
    assert group["advice"][0].startswith(f"use {use['label']}") and any(
        "training seed" in said for said in group["advice"]
    )
    assert use["relative"]["total_"] and use["cost"]["total_seconds"], "at what cost"
    assert use["command"].startswith(f"bench run --method {use['method']} --device pcm --task cifar10 ")


def test_every_record_of_a_task_with_pictures_has_its_own_committed():
    """`bench run` leaves them in results/pictures: whoever commits a record commits its picture too."""
    lacking = []
    for record in Records(RESULTS).load_all()[0]:
        task = registry.get("tasks", record["evaluation"]["training"]["task"])
        wanted = task.picture is not Task.picture and record["status"] == "done"
        if wanted and not (RESULTS / "pictures" / f"{record['key']}.png").is_file():
            lacking.append((record["key"], record["command"]))
    assert lacking == []


def test_each_record_is_what_its_command_would_make(home, cli, monkeypatch, tmp_path):
    """A preset that changes leaves records behind that no command makes any more, under commands of other ones."""
    planned: list[str] = []
    monkeypatch.setattr(estimate, "estimate", lambda cells, *_: planned.extend(c.evaluation.key for c in cells) or [])
    lost = []
    for record in Records(RESULTS).load_all()[0]:
        planned.clear()
        words = shlex.split(remake(record).replace("--data DIR", f"--data {tmp_path}"))[1:]
        cli(*words, "--dry-run")
        assert ("--data" in words) == bool(registry.asks(record["evaluation"]["training"]["task"]))
        if record["key"] not in planned:
            lost.append((record["key"], record["command"]))
    assert lost == []
