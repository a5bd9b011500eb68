"""The best settings that tuning found, one file a method, device, task and budget in `<results>/tuned`."""

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import limits, plan, registry, request
from bench.errors import BenchError
from bench.files import read_one, write_text
from bench.keys import key_of
from bench.labels import settings_label
from bench.spec import Evaluation
from bench.tuning import space

SCHEMA = 1
log = logging.getLogger("bench")


class NotTuned(BenchError):
    """There are no tuned settings for a cell."""


def name_of(evaluation: Evaluation) -> str:
    """Under what tuned settings are saved: equal for cells that differ in nothing but what was tuned, seed,
    precision, and how they are tested.
    """
    made = evaluation.as_dict()
    training = made["training"]
    for owner, names in ((made, "chips preset test_samples levels times_s time_s"), (training, "settings level seed")):
        for name in names.split():
            owner.pop(name, None)
    del training["precision"]
    parts = (training["task"], training["network"].replace(":", "_").replace("?", "_"), made["device"])
    readable = "-".join((*parts, training["method"]))
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in readable) + f"-{key_of(made)[:8]}"


def path_of(results: Path, evaluation: Evaluation) -> Path:
    """Where the tuned settings of a cell lie."""
    return results / "tuned" / f"{name_of(evaluation)}.json"


def save(path: Path, found: Mapping[str, Any]) -> None:
    """Write them, whole or not at all."""
    write_text(path, json.dumps({"schema": SCHEMA, **found}, indent=1, allow_nan=False) + "\n")


def load(results: Path, evaluation: Evaluation) -> tuple[dict[str, Any], float]:
    """(settings, training level) for a cell. NotTuned if nothing was tuned for it, BenchError if the file is broken."""
    path, training = path_of(results, evaluation), evaluation.training
    try:
        found = json.loads(read_one(path, limits.RECORD))
        settings, level = dict(found["settings"]), float(found["level"])
        if not 0 <= level < math.inf:
            raise ValueError(f"level is {level:g}, must be a finite number from 0 on")
        plan.method_of(training.method, settings)
        return settings, level
    except FileNotFoundError:
        where = f"{training.method} on {evaluation.device}{settings_label(evaluation.as_dict())}, {training.task}"
        raise NotTuned(
            f"tuned: there are no settings for {where}, {training.network}, with this budget in {path.parent}; "
            "`bench tune` with the same options finds some"
        ) from None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise BenchError(f"tuned settings {path} are broken ({reason}); delete the file and tune again") from None


def trials(results: Path, evaluation: Evaluation) -> int:
    """Trials that the settings and level of a cell were chosen by: 0 if they are the defaults, or weren't tuned."""
    training = evaluation.training
    try:
        found = json.loads(read_one(path_of(results, evaluation), limits.RECORD))
        usual = found["evaluation"]["training"]
        chosen, default = ((part["settings"], part["level"]) for part in (found, usual))
        own = (dict(training.settings), training.level)
        return len(found["trials"]) if own == tuple(chosen) and own != tuple(default) else 0
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return 0  # nothing was tuned; or the file is broken, which `load` says to those who ask for it


def cells(asked: plan.Request, results: Path, words: list[str]) -> list[tuple[plan.Cell, str]]:
    """The cells of a request, each with its tuned settings, and the commands that make them without the file.

    Methods that have nothing to tune stay as they are. `words`: of `--set`. Of several methods, those that were not
    tuned are left out, which is said; BenchError if that leaves none.
    """
    if asked.settings or asked.level is not None:
        raise BenchError("tuned: settings of methods and --level are what tuning chose; leave them out, or --tuned")
    if asked.budget != "preset":
        raise BenchError("tuned: settings are tuned at the preset's budget; with --budget matched, name them by --set")
    made, missing = [], {}
    for cell in plan.cells(asked):
        try:
            made.append(_tuned(asked, results, words, cell))
        except NotTuned as error:
            if len(asked.methods) == 1:
                raise
            evaluation = cell.evaluation
            missing[f"{evaluation.training.method} on {evaluation.device}, {evaluation.training.task}"] = error
    if missing and not made:
        raise next(iter(missing.values()))
    if missing:
        log.warning("tuned: left out, not tuned with this budget (`bench tune` does that): %s", "; ".join(missing))
    return made


def _tuned(asked: plan.Request, results: Path, words: list[str], cell: plan.Cell) -> tuple[plan.Cell, str]:
    method = registry.get("methods", cell.evaluation.training.method)
    if space.of(method, plan.device_of(cell.device)).is_empty:
        return cell, request.command(cell, asked, words)
    settings, level = load(results, cell.evaluation)
    return cell_with(asked, cell, settings, level, words)


def cell_with(
    asked: plan.Request, cell: plan.Cell, settings: Mapping[str, Any], level: float, words: list[str]
) -> tuple[plan.Cell, str]:
    """A cell of the request with other settings and training level, and the command that makes it."""
    training = cell.evaluation.training
    texts = space.texts(settings)
    used = level if plan.uses_level(training.method, settings) else None
    part = request.for_cell(asked, cell, level=used, settings=texts)
    (made,) = plan.cells(part)
    return made, request.command(made, part, [*words, *(f"method.{name}={text}" for name, text in texts.items())])
