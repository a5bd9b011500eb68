"""Ray, and nothing else of the bench knows it: workers of this machine, or of a cluster that is there already.

Ray chooses where a job runs, by the CPUs and the share of a GPU that it asks for, and gives the job of a worker or a
machine that died to another; that it goes on from its last checkpoint is the runner's doing.
"""

import logging
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from bench import fast, worker
from bench.board import Board
from bench.errors import BenchError, in_one_line
from bench.grid import Job
from bench.worker import Place, Result

RETRIES = 3  # of a job whose worker died; errors inside a job are results, and are not retried
PATIENCE_S = 10.0  # for whoever may not answer: the board, whose process may just have died, or an address
OBJECTS_BYTES = 100 << 20  # jobs and results are small: all data go by the shared folders
INSTALL = "needs Ray: pip install 'cim-bench[cluster]'"


@dataclass(frozen=True)
class Crew:
    """Who does the jobs. `address` None: `workers` of this machine, in a Ray of our own; else those of a cluster.

    `threads` and `gpus`: what each job asks for; `processor` and `precision`: what workers compute on.
    """

    workers: int | None
    address: str | None
    threads: int
    gpus: float
    processor: str
    precision: str

    @property
    def slots(self) -> int:
        """Jobs that run at once; of a cluster, as it is now."""
        if self.workers is not None:
            return self.workers
        ray = _ray()
        have = ray.cluster_resources()
        of_cpus = have.get("CPU", 0) // self.threads
        return max(1, int(min(of_cpus, have.get("GPU", 0) // self.gpus) if self.gpus else of_cpus))

    def __str__(self) -> str:
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        return workers if self.address is None else f"cluster {self.address}"

    @contextmanager
    def team(self, home: Path, results: Path, data: Path | None) -> Iterator["RayTeam"]:
        """Workers that are ready for jobs, and see these folders."""
        ray = _ray()
        if self.address is None:
            _init(ray, address="local", num_cpus=self.slots * self.threads, object_store_memory=OBJECTS_BYTES)
        try:
            place = Place(home.absolute(), results.absolute(), data and data.absolute(), self.processor, self.threads)
            yield RayTeam(ray, place, self.gpus)
        finally:
            ray.shutdown()


def crew(workers: int | None, address: str | None, gpu_share: float | None, on: str, threads: int | None) -> Crew:
    """Who is asked for. Connects to the cluster at an address; workers of this machine are started later.

    BenchError for what can't be.
    """
    share = f"gpu-share {gpu_share or 0:g}"
    if workers is not None and address is not None:
        raise BenchError("workers, cluster: a cluster has its own number of workers; give one of them")
    if gpu_share is not None and not (0 < gpu_share <= 1 or gpu_share == int(gpu_share) > 0):
        raise BenchError(f"{share}: must be above 0 and at most 1, or a whole number")
    if gpu_share is not None and on == "cpu":
        raise BenchError(f"{share}: cells on the CPU take no GPU; leave it out, or --on cpu")
    if on.startswith("cuda:"):
        raise BenchError(f"on {on}: which GPU a cell gets is chosen by Ray; give --on cuda")
    _ray()
    if workers is not None:
        return _crew_here(workers, gpu_share, on, threads)
    if address is None:
        raise BenchError(f"{share}: it is for cells side by side; give --workers or --cluster too")
    if threads is not None and threads < 1:
        raise BenchError(f"threads {threads}: must be at least 1")
    return _crew_there(address, gpu_share, on, threads or 1)


def _crew_here(workers: int, gpu_share: float | None, on: str, threads: int | None) -> Crew:
    processor = fast.processor(on, threads)
    precision = fast.precision_for(processor)
    threads = threads or worker.threads_for(workers)
    if processor.type == "cuda":
        gpus = gpu_share or 1 / -(-workers // torch.cuda.device_count())
        return Crew(workers, None, threads, gpus, processor.type, precision)
    if gpu_share is not None:
        raise BenchError(f"gpu-share {gpu_share:g}: this machine has no GPU")
    return Crew(workers, None, threads, 0.0, processor.type, precision)


def _crew_there(address: str, gpu_share: float | None, on: str, threads: int) -> Crew:
    ray = _ray()
    _knock(os.environ.get("RAY_ADDRESS", address) if address == "auto" else address)
    _init(ray, address=address)
    have = ray.cluster_resources().get("GPU", 0)
    if not have and (gpu_share is not None or on == "cuda"):
        raise BenchError(f"cluster {address}: has no GPU; leave out --gpu-share and --on cuda")
    gpus = (gpu_share or 1.0) if have and on != "cpu" else 0.0
    processor, precision = _probe(ray, "cuda" if gpus else "cpu", threads, gpus, address)
    return Crew(None, address, threads, gpus, processor, precision)


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise BenchError(f"workers, cluster: {INSTALL}") from None
    return ray


def _knock(address: str) -> None:
    """BenchError if nobody listens at HOST:PORT or ray://HOST:PORT: Ray itself would knock for minutes."""
    host, colon, port = address.removeprefix("ray://").partition(":")
    if address == "auto":
        return
    if not (host and colon and port.isdecimal() and int(port) < 1 << 16):  # a larger one would be cut to another
        raise BenchError(f"cluster '{address}': must be auto, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE_S).close()
    except OSError as error:
        reason = error.strerror or error
        raise BenchError(f"cluster {address}: can't be reached ({reason}); `ray start --head` starts one") from None


def _init(ray: Any, address: str, **more: Any) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "ignore_reinit_error": True}
    if address == "local":
        quiet["include_dashboard"] = False
    with tempfile.TemporaryFile() as said:
        try:
            with _stderr_in(said):
                ray.init(address=address, **quiet, **more)
        except Exception as error:  # of many kinds: no such host, no cluster there, another version of Ray or Python
            reason = in_one_line(error)[:300]
            if address == "local":
                raise BenchError(f"workers: Ray doesn't start here ({reason})") from None
            said.seek(0)
            if b"Unauthenticated" in said.read():
                reason = "it asks for another token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
            raise BenchError(f"cluster {address}: can't be joined ({reason}); see docs/cluster.md") from None
        said.seek(0)
        sys.stderr.write(said.read().decode(errors="replace"))


@contextmanager
def _stderr_in(file: IO[bytes]) -> Iterator[None]:
    """What is said on stderr meanwhile goes to a file, that of Ray's C++ too: once a second why it isn't let in."""
    sys.stderr.flush()
    kept = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


def _probe(ray: Any, on: str, threads: int, gpus: float, address: str) -> tuple[str, str]:
    """What a worker computes on, and at which precision: its machine counts, not this one."""
    asked = ray.remote(num_cpus=threads, num_gpus=gpus)(worker.can).remote(on, threads)
    try:
        return ray.get(asked, timeout=600)
    except ray.exceptions.GetTimeoutError:
        wanted = f"{threads} CPUs" + (f" and {gpus:g} GPU" if gpus else "")
        raise BenchError(f"cluster {address}: no machine gave {wanted} within ten minutes") from None
    except ray.exceptions.RayError as error:
        raise BenchError(
            f"cluster {address}: a worker can't do it ({_last_line(error)}); is cim-bench there?"
        ) from None


def _last_line(error: Exception) -> str:
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)


class Lost(RuntimeError):
    """A job whose workers died, again and again."""


class BoardReports:
    """The board as one job's worker sees it. Where it does not answer the work goes on.

    An answer is waited for as a future and not with ray.get, which gives the worker's CPUs to another job meanwhile:
    more jobs would run at once than there are CPUs for.
    """

    def __init__(self, ray: Any, board: Any, key: str) -> None:
        self.ray, self.board, self.key = ray, board, key

    def begin(self, where: str) -> bool:
        """A worker begins."""
        return self._answer(self.board.begin.remote(self.key, where))

    def report(self, seen: Mapping[str, Any], wait: bool) -> bool:
        """What it is at."""
        told = self.board.report.remote(self.key, dict(seen))
        return self._answer(told) if wait else False

    def _answer(self, told: Any) -> bool:
        with suppress(self.ray.exceptions.RayError, TimeoutError):
            return bool(told.future().result(timeout=PATIENCE_S))
        return False


def _work(job: Job, place: Place, board: Any) -> Result:
    """In a worker."""
    import ray

    return worker.work(job, place, BoardReports(ray, board, job.key))


class RayTeam:
    """Implements bench.engine.Team."""

    def __init__(self, ray: Any, place: Place, gpus: float) -> None:
        self.ray, self.place = ray, place
        # Where the command is, and dies with it; a soft wish puts it on any machine, whose death loses what it has.
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        actor = ray.remote(num_cpus=0, max_restarts=-1)(Board)
        self.board = actor.options(scheduling_strategy=here).remote()
        self.task = ray.remote(num_cpus=place.threads, num_gpus=gpus, max_retries=RETRIES)(_work)

    def submit(self, job: Job) -> Any:
        """To whom Ray chooses."""
        return self.task.remote(job, self.place, self.board)

    def wait(self, handles: Sequence[Any], seconds: float) -> list[Any]:
        """Those that have ended."""
        ended, _ = self.ray.wait(list(handles), num_returns=1, timeout=seconds)
        return list(ended)

    def result(self, handle: Any) -> Result:
        """How it ended; a worker's death, after all retries, is a failure of the job."""
        errors = self.ray.exceptions
        try:
            return self.ray.get(handle)
        except errors.TaskCancelledError:
            return Result("stopped")
        except errors.RayTaskError as error:  # before or after the job itself: its code could not be loaded there
            return Result("failed", error=Lost(f"a worker can't do it: {_last_line(error)}"))
        except errors.RayError as error:
            reason = " ".join(str(error).partition("\n")[0].split())
            return Result("failed", error=Lost(f"its worker died {RETRIES + 1} times, the last time: {reason}"))

    def seen(self) -> Mapping[str, Mapping[str, Any]]:
        """What is on the board."""
        with suppress(self.ray.exceptions.RayError):
            return self.ray.get(self.board.read.remote(), timeout=PATIENCE_S)
        return {}

    def stop(self, key: str | None = None) -> None:
        """Write it on the board."""
        self.board.stop.remote(key)

    def forget(self, key: str) -> None:
        """Wipe it off the board."""
        self.board.forget.remote(key)

    def cancel(self, handles: Sequence[Any], force: bool) -> None:
        """Take jobs back."""
        for handle in handles:
            with suppress(self.ray.exceptions.RayError, ValueError):
                self.ray.cancel(handle, force=force)
