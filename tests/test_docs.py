"""Documents that list what the code has."""

import dataclasses
import importlib.util
import json
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from bench import __version__, registry

ROOT = Path(__file__).parent.parent


def test_every_document_is_on_the_site() -> None:
    nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages <= set(re.findall(r": ([\w/.-]+\.md)$", nav, re.MULTILINE))


def test_the_citation_is_of_this_version() -> None:
    (version,) = re.findall(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert version == __version__


def test_tox_and_ci_run_the_readme_s_tests_on_every_python_that_is_promised() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    promised = [v for each in project["project"]["classifiers"] if "." in (v := each.rpartition(":: ")[2])]
    tox = project["tool"]["tox"]
    assert tox["env_list"] == [f"py{version.replace('.', '')}" for version in promised]
    matrix = re.findall(r"^ +python: (.*)$", (ROOT / ".github/workflows/ci.yml").read_text(), re.MULTILINE)
    assert matrix == [json.dumps(promised)]
    run = tox["env_run_base"]
    ((*words, more),) = run["commands"]
    assert more == {"replace": "posargs", "extend": True} and run["package"] == "editable"
    command = f"pip install --quiet -e '.[{run['extras'][0]}]' && .venv/bin/{' '.join(words)}\n"
    assert command in (ROOT / "README.md").read_text() and command in (ROOT / ".ci/run").read_text()


def audited() -> ModuleType:
    """The script that tells advisories."""
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_packages_that_nothing_is_known_of_are_not_passed_over_in_silence() -> None:
    found = [
        {
            "name": "a",
            "version": "1",
            "vulns": [{"id": "X-1", "fix_versions": ["2"]}, {"id": "X-2", "fix_versions": []}],
        },
        {"name": "b", "version": "3", "vulns": []},
    ]
    assert audited().tell({"dependencies": found}) == [
        "ADVISORY X-1: a 1; mended in 2",
        "ADVISORY X-2: a 1; mended in no version yet",
        "advisories: 2 on 2 packages that were audited",
    ]
    skipped = [{"name": "c", "skip_reason": "not found"}]
    assert audited().tell({"dependencies": skipped})[1] == "NOT AUDITED: 1 of 1 packages, for example: not found"


def test_where_advisories_can_not_be_reached_it_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = audited()
    monkeypatch.setattr(script, "COMMAND", "-c raise(SystemExit('ERROR:no\\x20network'))")
    script.main()
    assert capsys.readouterr().out == "NOT AUDITED: the advisories could not be reached (ERROR:no network)\n"


@pytest.mark.parametrize("name", registry.entries("methods"))
def test_every_setting_of_a_method_is_in_its_row(name: str) -> None:
    (row,) = re.findall(rf"^\| `{name}` \|.*$", (ROOT / "docs" / "methods.md").read_text(), re.MULTILINE)
    for field in dataclasses.fields(registry.get("methods", name).Settings):
        assert f"`{field.name}`" in row


def test_the_readme_shows_two_committed_figures() -> None:
    shown = re.findall(r"!\[[^]]+\]\((results/plots/[^)]+\.png)\)", (ROOT / "README.md").read_text())
    assert len(shown) >= 2 and all((ROOT / path).is_file() for path in shown)


@pytest.mark.parametrize("name", registry.entries("tasks"))
def test_every_network_of_a_task_is_in_the_readme(name: str) -> None:
    (row,) = re.findall(rf"^\| [^|]*`{name}`[^|]*\|.*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert re.findall(r"`([a-z0-9_:]+)`", row.split("|")[3]) == list(registry.get("tasks", name).networks)


@pytest.mark.parametrize("name", registry.entries("methods"))
def test_the_cost_of_a_step_is_the_measured_one(name: str) -> None:
    (row,) = re.findall(rf"^\| `{name}` \|.*$", (ROOT / "docs" / "methods.md").read_text(), re.MULTILINE)
    (costs,) = json.loads((ROOT / "results" / "steps.json").read_text())["networks"]
    measured = costs["methods"].get(name)
    shown = "—" if measured is None else f"{measured['x_nominal']:.1f}"
    assert row.rsplit("|", 2)[1].strip() in (shown, shown.removesuffix(".0"))
