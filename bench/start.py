"""What commands that compute begin and end with: who computes, folders that can be written to, tables made anew."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import interrupt, leaderboard
from bench.files import check_writable
from bench.progress import Monitor
from bench.store import home

if TYPE_CHECKING:
    import torch

    from bench.cluster import Crew
    from bench.runner import Runner

log = logging.getLogger("bench")


def crew(
    workers: int | None,
    cluster: str | None,
    gpu_share: float | None,
    on: str,
    threads: int | None,
    given: dict[str, Any],
) -> "tuple[Crew | None, torch.device, dict[str, Any]]":
    """Who does the cells, the processor that the request is read for, and the request at the precision that it has."""
    from bench import fast

    if (workers, cluster, gpu_share) == (None, None, None):
        return None, fast.processor(on, threads), given
    import torch

    from bench import cluster as cluster_

    crew = cluster_.crew(workers, cluster, gpu_share, on, threads)
    precision = crew.precision if given["precision"] == "auto" else given["precision"]
    return crew, torch.device(crew.processor), given | {"precision": precision}


def runner(data: Path | None, results: Path, processor: "torch.device", crew: "Crew | None" = None) -> "Runner":
    """Work begins: a runner whose folders can be written to; what a crew computes on need not be here."""
    from bench import fast
    from bench.runner import Runner

    processor = processor if crew is None else fast.processor()
    interrupt.work_begins()
    check_writable(results)
    check_writable(home())
    return Runner(home=home(), results=results, data_dir=data, processor=processor, monitor=Monitor())


def remake(results: Path) -> list[dict[str, Any]]:
    """All records, with tables and plots made from them."""
    records, warnings, _ = leaderboard.remake(results)
    for warning in warnings:
        log.warning("%s", warning)
    return records
