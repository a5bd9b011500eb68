"""Half-finished sweeps, `<home>/sweeps/<key>.json`: the levels that an interrupted sweep has measured already."""

from pathlib import Path
from typing import Any

from bench import limits, provenance, seal
from bench.errors import BenchError
from bench.files import clear_leftovers, read_one, write_bytes
from bench.provenance import Data
from bench.shape import check_data

NAMES = {"levels", "seconds", "trained", "replaces", "data"}


class HalfSweep:
    """Of one evaluation with one network. `trained`: when that was trained; `replaces`: names the content of the
    finished record that is swept again, None if there is none. Levels of another network, or measured before that
    record, don't count. `data`: that it is measured on.
    """

    def __init__(
        self, home: Path, key: str, trained: str = "", replaces: str | None = None, data: Data | None = None
    ) -> None:
        self.path = home / "sweeps" / f"{key}.json"
        self._of = {"trained": trained, "replaces": replaces}
        self._data = data

    def load(self) -> tuple[list[dict[str, Any]], float]:
        """Levels, and the seconds that they took. BenchError if broken, or of other data."""
        clear_leftovers(self.path)
        if not self.path.exists():
            return [], 0.0
        try:
            kept, _ = seal.opened(read_one(self.path, limits.RECORD))
            if odd := sorted(set(kept) - NAMES):
                raise ValueError(f"{odd[0]!r:.40} is nothing that it should have")
            found = list(kept["levels"]), float(kept["seconds"])
            check_data(kept)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise BenchError(f"half-finished sweep {self.path} is broken; delete it to sweep again") from None
        if {name: kept.get(name) for name in self._of} != self._of:
            return [], 0.0
        if self._data is not None:
            provenance.check(f"half-finished sweep {self.path}", kept.get("data"), self._data)
        return found

    def save(self, levels: list[dict[str, Any]], seconds: float) -> None:
        """Keep the levels so far. OSError if it can't, BenchError if no record could hold them."""
        of = self._of if self._data is None else self._of | {"data": self._data}
        data = seal.sealed({"levels": levels, "seconds": seconds, **of})
        if len(data) > limits.RECORD:
            raise BenchError(
                f"{len(levels)} levels take {len(data) >> 20} MiB, a record at most {limits.RECORD >> 20}; "
                "its network and the levels before the last one are kept, but take fewer chips"
            )
        write_bytes(self.path, data)

    def drop(self) -> None:
        """The sweep is done, and its record written."""
        self.path.unlink(missing_ok=True)
