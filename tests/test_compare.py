"""`bench compare`: methods, records and commits, held against numbers worked out here from committed records."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as scipy_stats

from bench import comparison, seal
from bench.crossed import bootstrap
from bench.errors import BenchError
from bench.reading import read_record

COMMITTED = Path(__file__).parents[1] / "results" / "records"
RRAM = "fashion_mnist-rram-{}-s0-*.json"


def find(pattern: str, preset: str = "standard") -> Path:
    """The committed record of a method at its defaults, of one preset."""
    found = {path: json.loads(path.read_text())["evaluation"] for path in COMMITTED.glob(pattern)}
    (path,) = (p for p, how in found.items() if how["preset"] == preset and not how["training"]["settings"])
    return path


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """mtrd, hwa and nominal on fashion_mnist x rram, mtrd and hwa on rram1t1r."""
    folder = tmp_path / "results" / "records"
    folder.mkdir(parents=True)
    for name in ("mtrd", "hwa", "nominal"):
        shutil.copy(find(RRAM.format(name)), folder)
    for name in ("mtrd", "hwa"):
        shutil.copy(find(RRAM.replace("rram", "rram1t1r").format(name)), folder)
    return folder.parent


def read(results: Path, pattern: str) -> dict:
    (path,) = (results / "records").glob(pattern)
    return json.loads(path.read_text())


def test_differences_are_paired_chip_by_chip(results):
    both = comparison.compare("mtrd", "hwa", results)
    assert [c.title for c in both] == [
        "standard · fashion_mnist · lenet · rram",
        "standard · fashion_mnist · lenet · rram1t1r at 100000 s",
    ]
    a, b = (read(results, RRAM.format(name)) for name in ("mtrd", "hwa"))
    chips = [next(e["chips"] for e in r["levels"] if e["level"] == 0.3) for r in (a, b)]
    n = min(map(len, chips))
    d = np.subtract(chips[0][:n], chips[1][:n])
    found = both[0].points[0.3]
    assert (found.a, found.b) == pytest.approx([np.mean(c) for c in chips])
    assert found.difference.mean == pytest.approx(d.mean())
    spread = np.std(d[:10], ddof=1) / n**0.5
    assert found.difference.high - d.mean() == pytest.approx(scipy_stats.t.ppf(0.975, 9) * spread)
    assert found.low < d.mean() < found.high
    assert list(both[0].points) == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    # Holm's correction is over all rows that are shown.
    raw = 2 * scipy_stats.t.sf(abs(d.mean()) / spread, 9)
    assert found.difference.p >= min(1.0, raw) - 1e-12


def test_one_device_and_keys_tell_the_same(results):
    (one,) = comparison.compare("mtrd", "hwa", results, device="rram")
    keys = [read(results, RRAM.format(name))["key"] for name in ("mtrd", "hwa")]
    (by_key,) = comparison.compare(keys[0], keys[1][:8], results)
    assert by_key == one
    (turned,) = comparison.compare("hwa", "mtrd", results, device="rram")
    assert turned.score.difference.mean == pytest.approx(-one.score.difference.mean)


def test_bootstrap_is_close_to_students_t_for_many_chips_and_knows_of_seeds():
    random = np.random.default_rng(3)
    chips = random.normal(5, 1, 100)
    low, high = bootstrap([chips.tolist()])
    assert (low, high) == pytest.approx((chips.mean() - 0.197, chips.mean() + 0.197), abs=0.03)
    apart = [(chips + shift).tolist() for shift in (-3.0, 0.0, 3.0)]
    low, high = bootstrap(apart)
    assert high - low > 4


def test_commits_are_compared_key_by_key(results):
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        return subprocess.run(
            ["git", *identity, *arguments], cwd=results.parent, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "before")
    before = git("rev-parse", "HEAD")
    with pytest.raises(BenchError, match="no record differs; 5 are the same"):
        comparison.compare(before, comparison.NOW, results)
    path = find(RRAM.format("mtrd"))
    record = read_record(path)
    for entry in record["levels"][1:]:
        entry["chips"] = [value + 1 for value in entry["chips"]]
    (results / "records" / path.name).write_bytes(seal.sealed(record))
    (found,) = comparison.compare(comparison.NOW, before[:10], results)
    assert found.points[0.3].difference.mean == pytest.approx(1)
    with pytest.raises(BenchError, match="with a commit, or with 'now'"):
        comparison.compare(before, "mtrd", results)
    git("rm", "-r", "--cached", "--quiet", "results")
    git("commit", "--quiet", "-m", "without")
    with pytest.raises(BenchError, match="has no records"):
        comparison.compare("HEAD", comparison.NOW, results)


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ("mtdr", "hwa", "'mtdr' is no method, record key or commit.*did you mean 'mtrd'"),
        ("--output=x", "hwa", "no method, record key or commit"),
        ("mtrd", "hwa", "not both run on device pcm"),
    ],
)
def test_what_can_not_be_compared_is_told(results, a, b, said):
    with pytest.raises(BenchError, match=said):
        comparison.compare(a, b, results, device="pcm")


def test_chips_of_two_devices_are_not_the_same_chips(results):
    keys = [read(results, pattern)["key"] for pattern in (RRAM.format("mtrd"), "fashion_mnist-rram1t1r-mtrd-*.json")]
    with pytest.raises(BenchError, match="their chips aren't the same"):
        comparison.compare(*keys, results)


@pytest.mark.parametrize(
    ("pattern", "preset", "said"),
    [
        (RRAM, "standard", "accuracy in %, higher is better"),
        (RRAM.replace("fashion_mnist", "language_wikitext2"), "quick", "perplexity, lower is better"),
    ],
)
def test_command_says_which_way_is_better(cli, tmp_path, pattern, preset, said):
    (tmp_path / "records").mkdir()
    for name in ("mtrd", "nominal"):
        shutil.copy(find(pattern.format(name), preset), tmp_path / "records")
    done = cli("compare", "mtrd", "nominal", "--results", tmp_path)
    assert done.code == 0 and said in " ".join(done.out.split())


def test_command_prints_a_table_and_draws_a_picture(results, cli, tmp_path):
    done = cli("compare", "mtrd", "hwa", "--results", results)
    assert done.code == 0, done.err
    assert "mtrd - hwa" in done.out and "p by Holm" in done.out
    pictures = [results / "compare" / f"mtrd-hwa{suffix}" for suffix in (".png", ".pdf")]
    first = [p.read_bytes() for p in pictures]
    assert cli("compare", "mtrd", "hwa", "--results", results).code == 0
    assert [p.read_bytes() for p in pictures] == first
    assert cli("compare", "mtrd", "hwa", "--results", results, "--out", tmp_path / "x.gif").code == 2
    assert cli("compare", "mtrd", "nominal", "--results", tmp_path / "none").code == 2
