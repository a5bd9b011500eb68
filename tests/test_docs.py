"""Documents that list what the code has."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from bench import registry

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", registry.entries("methods"))
def test_every_setting_of_a_method_is_in_its_row(name: str) -> None:
    (row,) = re.findall(rf"^\| `{name}` \|.*$", (ROOT / "docs" / "methods.md").read_text(), re.MULTILINE)
    for field in dataclasses.fields(registry.get("methods", name).Settings):
        assert f"`{field.name}`" in row


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
