"""Published figures beside ours: none is missing, as far as the code can tell; docs/published.md says what is so."""

import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import plan, published, registry, request
from bench.papers import TABLES, WITHOUT, Published
from devices._curve import current_ua
from devices.pcm import Pcm
from devices.siox import SioxHigh, SioxLow

DOCS = Path(__file__).parents[2] / "docs" / "published.md"
CELLS = 200_000


def surname(paper: str) -> str:
    """'Wu' of 'Wu et al., MTRD', 'Levy' of 'A. Levy, RRAM relaxation data'."""
    return re.sub(r"^([A-Z]\. )+", "", paper.strip()).split(" ")[0].rstrip(",")


CITED = {
    surname(paper): name
    for kind in ("methods", "devices")
    for name, entry in registry.entries(kind).items()
    for paper in entry.source.split(";")
    if paper.strip()
}


@pytest.mark.parametrize("paper", CITED)
def test_every_paper_that_a_method_or_a_device_is_from_has_rows_or_says_why_not(paper: str) -> None:
    rows, reasons = ({surname(name) for name in names} for names in ((row.where for row in TABLES), WITHOUT))
    assert (paper in rows) != (paper in reasons), f"{CITED[paper]}: bench/papers.py"


def test_no_paper_is_there_that_nothing_is_from() -> None:
    assert {surname(name) for name in (*WITHOUT, *(row.where for row in TABLES))} <= CITED.keys()


def title(row: Published) -> str:
    return f"{row.where}: {row.task} {row.network} {published.Comparison(row=row, points=(), ours=()).trained}"


@pytest.mark.parametrize("row", TABLES, ids=title)
def test_a_row_names_what_there_is_or_says_that_there_is_none(row: Published) -> None:
    assert row.values and row.setting and row.where
    assert row.method in registry.entries("methods") and row.device in registry.entries("devices")
    assert row.here == (row.network in registry.get("tasks", row.task).networks)
    assert row.here or row.unrun


def evaluations(command: str) -> list[dict[str, Any]]:
    """What a command, or a loop of it over levels, asks for, as records hold it."""
    levels, words = [""], command
    if found := re.fullmatch(r"for level in ([0-9. ]+); do (.*); done", command):
        levels, words = found[1].split(), found[2]
    made = []
    for level in levels:
        _, _, *options = shlex.split(words.replace("$level", level))
        given: dict[str, Any] = {"seed": "0", "precision": "fp32"}
        given |= dict(zip((name[2:] for name in options[::2]), options[1::2], strict=True))
        given |= {"level": float(given["level"])} if "level" in given else {}
        assert given.pop("data", None) == (registry.asks(given["task"]).removeprefix(" --data ") or None)
        made += [cell.evaluation.as_dict() for cell in plan.cells(request.read(torch.device("cpu"), [], **given))]
    return made


@pytest.mark.parametrize("row", [row for row in TABLES if row.here], ids=title)
def test_the_commands_of_a_row_ask_the_question_of_the_row(row: Published) -> None:
    """Their records are found again, with every point of the paper's."""
    alone = published.unmeasured([c for c in published.compare([]) if c.row is row])
    asked = [evaluation for command in alone[0].commands for evaluation in evaluations(command)]
    assert asked
    records = [
        {
            "status": "done",
            "key": f"{i}",
            "evaluation": e,
            "levels": [{row.sweep: point, "chips": [50.0]} for point in e.get("times_s") or e["levels"]],
        }
        for i, e in enumerate(asked)
    ]
    (found,) = [c for c in published.compare(records) if c.row is row]
    missing = {0.0} if row.each else set()  # clean networks aren't trained at level 0
    assert {p for p, mean in zip(found.points, found.ours[0].means, strict=True) if mean is not None} >= set(
        row.values
    ) - missing


def test_a_row_that_nobody_ran_says_why_and_how(cell: Callable[..., dict[str, Any]]) -> None:
    text = published.markdown([])
    assert text.count("ours: not measured") == len(TABLES)
    assert (
        "\nNot measured: nominal, noise_injection at 0.3, noise_injection at 0.5, mtrd at 0.3 on cifar10 vgg16: "
        "4.6 times the work of vgg8_mtrd on cifar10, hours a network on two cores; nobody ran it so far.\n\n"
        "    bench run --method nominal --device rram --task cifar10 --network vgg16 --preset standard\n"
        "    bench run --method noise_injection,mtrd --device rram --task cifar10 --network vgg16 --preset standard "
        "--level 0.3\n"
    ) in text
    assert (
        "hwa on text:sst2 BERT-base: a network that is not here: text:sst2 has MiniLM, which is smaller.\n\n## " in text
    )
    assert all(f"- {paper}: {why}." in text for paper, why in WITHOUT.items())
    text = published.markdown([of("nominal", cell, 0.0)])
    assert "| ours, standard, 1 seed; 10 + 3 epochs, batch 128, rate 0.1; 10 to 20 chips; bf16 |" in text
    assert "Not measured: noise_injection at 0.1, " in text


def test_runs_of_other_budgets_and_networks_stand_apart(cell: Callable[..., dict[str, Any]]) -> None:
    usual, longer, narrow, part = (of("nominal", cell, 0.0) for _ in range(4))
    for changed in (longer, narrow, part):
        changed["evaluation"]["preset"] = "standard*"
    longer["evaluation"]["training"]["budget"] = usual["evaluation"]["training"]["budget"] | {"epochs": 200}
    narrow["evaluation"]["training"]["width"] = 0.5
    part["evaluation"]["test_samples"] = 500
    (found,) = [c for c in published.compare([usual, longer, narrow, part]) if c.ours]
    assert [(one.preset, one.setting[:13]) for one in found.ours] == [
        ("standard", "10 + 3 epochs"),
        ("standard*", "200 + 3 epoch"),
    ]


def test_seeds_of_other_versions_and_precisions_are_not_averaged(cell: Callable[..., dict[str, Any]]) -> None:
    usual, newer, exact = (of("mtrd", cell, 0.3) for _ in range(3))
    for seed, one in enumerate((usual, newer, exact)):
        one["evaluation"]["training"]["seed"] = seed
    newer["evaluation"]["training"]["method_version"] = "2+nominal=1"
    exact["evaluation"]["training"]["precision"] = "fp32"
    rows = [c.ours for c in published.compare([usual, newer, exact]) if c.ours]
    assert rows and all(len(ours) == 3 and {one.seeds for one in ours} == {1} for ours in rows)
    assert {one.setting.split("chips; ")[1] for one in rows[0]} == {"bf16", "bf16; mtrd v2", "fp32"}
    newer["evaluation"]["training"]["method_version"] = "1+nominal=2"
    rows = [c.ours for c in published.compare([usual, newer]) if c.ours]
    assert {one.setting.split("chips; ")[1] for one in rows[0]} == {"bf16", "bf16; nominal v2"}


def test_nor_are_those_that_a_claim_takes_off(cell: Callable[..., dict[str, Any]]) -> None:
    ours, off, newer = of("mtrd", cell, 0.3), of("nominal", cell, 0.0), of("nominal", cell, 0.0)
    newer["evaluation"]["training"] |= {"seed": 1, "method_version": "2"}
    for level in newer["levels"]:
        level["chips"] = [chip - 10 for chip in level["chips"]]
    (claim,) = [c for c in published.compare([ours, off, newer]) if c.row.minus is not None and c.ours]
    a, b = ([mean for mean in one.means if mean is not None] for one in claim.ours)
    assert a and b == pytest.approx([mean + 10 for mean in a])
    assert [one.setting.split("bf16")[1] for one in claim.ours] == ["", "; minus nominal v2"]


def of(method: str, cell: Callable[..., dict[str, Any]], level: float) -> dict[str, Any]:
    record = cell(method, network="vgg8_mtrd", levels=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5))
    record["evaluation"]["training"]["level"] = level
    return record


def test_a_claim_is_set_beside_the_difference_of_two_of_ours(cell: Callable[..., dict[str, Any]]) -> None:
    both = [of("mtrd", cell, 0.3), of("nominal", cell, 0.0)]
    claim = next(c for c in published.compare(both) if c.row.minus is not None)
    assert claim.trained == "mtrd at 0.3 minus nominal" and claim.row.values == {0.5: 33.7}
    means = [sum(r["levels"][5]["chips"]) / len(r["levels"][5]["chips"]) for r in both]
    assert claim.ours[0].means == (pytest.approx(means[0] - means[1]),)
    assert claim.ours[0].gaps == (pytest.approx(means[0] - means[1] - 33.7),)
    assert claim.ours[0].keys == tuple(r["key"] for r in both)
    for one in both:
        assert not any(c.ours for c in published.compare([one]) if c.row.minus is not None)


def spread(device: str, weight: float, **settings: Any) -> float:
    """Std of what a chip makes of a weight, of a tensor's largest, at level 1."""
    return std(device, torch.full((CELLS,), weight), 1.0, **settings)


def std(device: str, weights: Tensor, peak: float, **settings: Any) -> float:
    tensor = torch.cat([weights, torch.tensor([peak])])
    chip = plan.device_of(device, settings).program({"w": tensor}, torch.Generator().manual_seed(0), level=1.0)["w"]
    return (chip.double() - tensor.double())[:-1].std().item() / peak


def slices(device: str) -> float:
    codes = torch.arange(256)
    outer = torch.cat([codes[codes < 64], codes[codes >= 192]]).float().repeat(1000)
    return std(device, outer, 255.0, form="sliced") / spread(device, 0.0)


def ohm(device: type[SioxLow | SioxHigh], volts: float) -> float:
    g = torch.tensor(device.g_max_us, dtype=torch.float64)
    return (current_ua(g, torch.tensor(volts, dtype=torch.float64), device.law, 1.0) / (g * volts)).item()


def cells(device: str, time_s: float, part: float = 0.5) -> Tensor:
    """Conductances in uS less what was asked for: of the plus cell of a weight of that part of the largest."""
    made = plan.device_of(device)
    tensor = torch.cat([torch.full((CELLS,), part), torch.ones(1)])
    chip = made.program({"w": tensor}, torch.Generator().manual_seed(0), level=1.0, time_s=time_s)
    return chip.cells["w"][0, :-1].double() - (made.g_min_us + part * (made.g_max_us - made.g_min_us))


def exponent(part: float) -> float:
    return Pcm().exponents(torch.full((CELLS,), 25 * part), torch.Generator().manual_seed(0), 1.0).mean().item()


NEFT = ("rram1", "fefet2", "rram4", "fefet6")
MEASURED: dict[tuple[str, str], Callable[[], float]] = {
    ("siox_low", "I / (G V) at G_on, .1 V"): lambda: ohm(SioxLow, 0.1),
    ("siox_low", "I / (G V) at G_on, .25 V"): lambda: ohm(SioxLow, 0.25),
    ("siox_low", "I / (G V) at G_on, .5 V"): lambda: ohm(SioxLow, 0.5),
    ("siox_high", "I / (G V) at G_on, .1 V"): lambda: ohm(SioxHigh, 0.1),
    ("siox_high", "I / (G V) at G_on, .25 V"): lambda: ohm(SioxHigh, 0.25),
    ("siox_high", "I / (G V) at G_on, .5 V"): lambda: ohm(SioxHigh, 0.5),
    **{(name, "std / M, outer states"): partial(spread, name, 0.1) for name in NEFT},
    **{(name, "std / M, middle states"): partial(spread, name, 0.5) for name in NEFT},
    **{(name, "outer std, slices over whole weights"): partial(slices, name) for name in NEFT[1:]},
    ("pcm", "mean nu at g / g_max = .2"): lambda: exponent(0.2),
    ("pcm", "mean nu at g / g_max = .01"): lambda: exponent(0.01),
    ("rram_wan2022", "std at g / g_max = .5 after 1 s, uS"): lambda: cells("rram_wan2022", 1.0).std().item(),
    ("rram_wan2022", "std at g / g_max = .5 after 1 day, uS"): lambda: cells("rram_wan2022", 86_400.0).std().item(),
    ("reram_cmo", "mean change in 1 h, uS"): lambda: cells("reram_cmo", 3600.0).mean().item(),
    ("reram_cmo", "std after 1 h, uS"): lambda: cells("reram_cmo", 3600.0).std().item(),
}  # fmt: skip


def single_cells() -> dict[tuple[str, str], tuple[float, float]]:
    """(published, ours) of the rows of the table in docs/published.md."""
    section = DOCS.read_text().partition("## Single cells")[2]
    found = re.findall(r"^\| `(\w+)` \| (.+?) \| (\S+) \| (\S+) \|$", section, re.MULTILINE)
    return {(device, what): (float(theirs), float(ours)) for device, what, theirs, ours in found}


def test_the_table_of_single_cells_is_whole() -> None:
    assert single_cells().keys() == MEASURED.keys()


@pytest.mark.parametrize("what", MEASURED, ids=" ".join)
def test_a_figure_of_single_cells_is_what_the_device_has(what: tuple[str, str]) -> None:
    theirs, ours = single_cells()[what]
    assert MEASURED[what]() == pytest.approx(ours, rel=0.005)
    assert ours == pytest.approx(theirs, rel=0.01)
