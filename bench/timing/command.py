"""`bench speed`: what is to be timed, shown and kept."""

from pathlib import Path

from rich.console import Console

from bench import fast, interrupt, request, speed
from bench.errors import BenchError
from bench.files import check_writable
from bench.progress import Monitor
from bench.timing import tables


def command(
    rounds: int,
    network: str | None,
    methods: str | None,
    plain_chips: int,
    profile: bool,
    on: str,
    data: Path | None,
    results: Path,
) -> None:
    """Measure, show, and keep in results/: speed.json, or profile.json, or steps.json, each with a .md beside it."""
    interrupt.work_begins()
    check_writable(results)
    cases = tuple(case for case in speed.CASES if case.network.startswith(network or ""))
    if not cases:
        raise BenchError(f"network '{network}': must begin like one of {', '.join(c.network for c in speed.CASES)}")
    if profile and methods is not None:
        raise BenchError("profile, methods: two timings with files of their own; give one of them")
    if profile:
        found = speed.profiles(fast.processor(on), data, cases, Monitor())
        speed.write_profiles(found, results)
        Console().print(tables.profile_markdown(found), highlight=False, markup=False, soft_wrap=True)
        return
    if methods is not None:
        found = speed.steps(fast.processor(on), data, cases, request.names(methods, "methods"), rounds, Monitor())
        speed.write_steps(found, results)
        Console().print(tables.steps_markdown(found), highlight=False, markup=False, soft_wrap=True)
        return
    figures = speed.measure(
        fast.processor(on),
        data,
        rounds=rounds,
        cases=cases,
        plain_chips=plain_chips,
        monitor=Monitor(),
    )
    speed.write(figures, results)
    Console().print(tables.terminal(figures))
