"""The tasks of a run with their data, each loaded once; is what was made before of these data?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import plan, provenance
from bench.errors import in_one_line
from bench.spec import Training
from tasks._base import Splits, Task, TaskError


class Datasets:
    """Of the `folder` that a user named, or of the `cache`."""

    def __init__(self, cache: Path, folder: Path | None) -> None:
        self.cache, self.folder = cache, folder
        self._splits: dict[str, Splits] = {}

    def of(self, training: Training) -> tuple[Task, Splits]:
        """The task and its data, loaded once. TaskError if they can't be had."""
        task = plan.task_of(training.task)
        if training.task not in self._splits:
            try:
                if self.folder is not None and not self.folder.is_dir():
                    raise TaskError(f"--data {self.folder}: is no folder; must be one that holds {task.dataset}")
                self._splits[training.task] = task.splits(self.cache, self.folder)
            except OSError as error:
                raise TaskError(f"{task.dataset}: can't be read ({in_one_line(error)})") from error
        return task, self._splits[training.task]

    def check(self, what: str, made: Mapping[str, Any], training: Training) -> None:
        """OtherData if `made`, which is called `what`, says that it is of other data than a training has here."""
        if "data" in made:
            provenance.check(what, made["data"], self.of(training)[1].fingerprint)

    def check_done(self, record: Mapping[str, Any], training: Training) -> None:
        """The same of a record that is done, where its data are at hand: loaded already, or in the user's folder.

        Those that everybody has are the same everywhere, and are not loaded for this. TaskError if that folder lacks
        them, or has them broken.
        """
        if training.task not in self._splits and self.folder is None:
            return
        self.of(training)  # also where the record names no data
        self.check(f"record {record['key']}", record, training)
