"""The notice board of a cluster: what each job is at, and which are to stop. An actor, so it imports nothing heavy."""

from typing import Any


class Board:
    """Workers write on it and read whether to stop; the command that started them reads it."""

    def __init__(self) -> None:
        self.seen: dict[str, dict[str, Any]] = {}
        self.to_stop: set[str] = set()
        self.all_stop = False

    def begin(self, key: str, where: str) -> bool:
        """A worker begins a job, the first or one more; should it rather stop?"""
        attempts = self.seen.get(key, {}).get("attempts", 0) + 1
        self.seen[key] = {"where": where, "attempts": attempts}
        return self.stops(key)

    def report(self, key: str, seen: dict[str, Any]) -> bool:
        """What a job is at; should it stop?"""
        self.seen.setdefault(key, {}).update(seen)
        return self.stops(key)

    def stops(self, key: str) -> bool:
        """Should a job stop at its next resume point?"""
        return self.all_stop or key in self.to_stop

    def stop(self, key: str | None = None) -> None:
        """A job is to stop; None: all are."""
        if key is None:
            self.all_stop = True
        else:
            self.to_stop.add(key)

    def read(self) -> dict[str, dict[str, Any]]:
        """All that is known of jobs that have begun, by key."""
        return self.seen

    def forget(self, key: str) -> None:
        """A job has ended."""
        self.seen.pop(key, None)
        self.to_stop.discard(key)
