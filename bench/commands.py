"""What each command does, once its options are read. Those that read records don't wait for torch."""

import logging
import shlex
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from bench import interrupt, leaderboard, terminal
from bench.errors import BenchError
from bench.labels import settings_label
from bench.progress import Monitor
from bench.store import Records, check_writable, home, read_record

if TYPE_CHECKING:
    import torch

    from bench import plan
    from devices._base import Device

log = logging.getLogger("bench")


def run(
    *,
    data: Path | None,
    results: Path,
    force: bool,
    on: str,
    threads: int | None,
    settings: list[str],
    **given: Any,
) -> int:
    """Run the cells of a request; 0 if all are done, 2 if one of several failed. A single one's error is raised."""
    import torch

    from bench import fast, plan
    from bench.runner import Runner, title

    if threads is not None:
        if threads < 1:
            raise BenchError(f"threads {threads}: must be at least 1")
        torch.set_num_threads(threads)
    processor = fast.processor(on)
    request = _request(processor, settings, **given)
    cells = plan.cells(request)
    interrupt.work_begins()
    check_writable(results)
    check_writable(home())
    console, monitor = Console(), Monitor()
    runner = Runner(home=home(), results=results, data_dir=data, processor=processor, monitor=monitor)
    errors: list[Exception] = []
    for cell in cells:
        try:
            record = runner.run(cell, _command(cell, request, settings), force)
            console.print(terminal.sweep_table(record))
        except Exception as error:
            errors.append(error)
            if len(cells) > 1:
                reason = " ".join(str(error).split()) or type(error).__name__
                monitor.say(f"FAILED {title(cell.evaluation.training, cell.evaluation.device)}: {reason}")
            log.debug("", exc_info=True)
    records: list[dict[str, Any]] = []
    with suppress(BenchError) if errors else nullcontext():  # the first error is the one to tell
        records, warnings, _ = leaderboard.remake(results)
        for warning in warnings:
            log.warning("%s", warning)
    if errors and len(cells) == 1:
        raise errors[0]
    terminal.render(_alike(records, {cell.evaluation.key for cell in cells}), console)
    console.print(f"records, leaderboard and plots: {results}", highlight=False, soft_wrap=True)
    return 2 if errors else 0


def _request(
    processor: "torch.device",
    settings: list[str],
    *,
    method: str,
    device: str,
    task: str,
    seed: str,
    preset: str,
    levels: str | None,
    time: float | None,
    precision: str,
    **given: Any,
) -> "plan.Request":
    """Read the words of the command line."""
    from bench import fast, plan

    if precision not in ("auto", "bf16", "fp32"):
        raise BenchError(f"precision '{precision}': must be auto, bf16 or fp32")
    if preset == "auto":
        preset = "quick" if processor.type == "cpu" else "paper"
    methods = plan.names(method, "methods")
    return plan.Request(
        methods=methods,
        devices=plan.names(device, "devices"),
        tasks=plan.names(task, "tasks"),
        seeds=plan.parse_numbers(seed, "seed", int),
        preset=preset,
        precision=fast.precision_for(processor) if precision == "auto" else precision,
        levels=None if levels is None else plan.parse_numbers(levels, "levels"),
        time_s=time,
        settings=_settings(settings, methods),
        device_settings=_device_settings(settings),
        **given,
    )


def _alike(records: list[dict[str, Any]], keys: set[str]) -> list[dict[str, Any]]:
    """The records that share a table with those of `keys`."""

    def table(record: dict[str, Any]) -> tuple[Any, ...]:
        evaluation = record["evaluation"]
        training = evaluation["training"]
        device = evaluation["device"], settings_label(evaluation)
        return evaluation["preset"], training["task"], training["network"], training["width"], device

    shown = {table(r) for r in records if r["key"] in keys}
    return [r for r in records if table(r) in shown]


def _settings(given: list[str], methods: tuple[str, ...]) -> dict[str, str]:
    """['method.alpha=.5', 'mtrd.temperature=4'] -> {'alpha': '.5', 'mtrd.temperature': '4'}."""
    found = {}
    for text, owner, name, value in map(_setting, given):
        if owner not in (("method", "device", *methods) if methods else ("device",)):
            methods_too = f"'method', 'device' or one of {', '.join(methods)}" if methods else "'device'"
            raise BenchError(f"--set {text}: '{owner}' must be {methods_too}")
        if owner != "device":
            found[name if owner == "method" else f"{owner}.{name}"] = value
    return found


def _device_settings(given: list[str]) -> dict[str, str]:
    """['device.stuck_on=.01', 'method.alpha=.5'] -> {'stuck_on': '.01'}."""
    return {name: value for _, owner, name, value in map(_setting, given) if owner == "device"}


def _device(name: str, settings: list[str]) -> "Device":
    """A device with what `--set device.NAME=VALUE` says of it."""
    from bench import plan

    _settings(settings, ())  # nothing but device settings
    return plan.device_of(name, plan.parse_device_settings(name, _device_settings(settings)))


def _setting(text: str) -> tuple[str, str, str, str]:
    """'method.alpha=.5' -> itself, 'method', 'alpha', '.5'."""
    name, equals, value = text.partition("=")
    owner, dot, setting = name.partition(".")
    if not (equals and dot and setting):
        raise BenchError(f"--set {text}: must read method.NAME=VALUE or device.NAME=VALUE")
    return text, owner, setting, value


def _command(cell: "plan.Cell", request: "plan.Request", settings: list[str]) -> str:
    """The one command that remakes this cell."""
    evaluation = cell.evaluation
    training = evaluation.training
    method = training.method
    words = ["bench", "run", "--method", method, "--device", cell.device, "--task", training.task]
    words += ["--seed", str(training.seed), "--preset", request.preset]
    plain = ("network", "width", "level", "time_s", "epochs", "finetune_epochs", "batch_size", "lr")
    for name in (*plain, "train_samples", "test_samples", "chips", "half_width", "samples_per_chip"):
        value = getattr(request, name)
        if value is not None:
            option = "--time" if name == "time_s" else "--" + name.replace("_", "-")
            words += [option, _exact(value)]
    if request.levels is not None:
        words += ["--levels", ",".join(map(_exact, request.levels))]
    for text in settings:
        if text.partition(".")[0] in ("method", "device", training.method):
            words += ["--set", text]
    words += ["--precision", training.precision]
    return shlex.join(words)


def _exact(value: Any) -> str:
    """As short as loses nothing: a rounded number would name another cell."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def report(results: Path) -> int:
    """Remake the tables and plots from the records that are whole; show the leaderboard. 2 if one is broken."""
    console = Console()
    if not (results / "records").is_dir():
        raise BenchError(f"no records in {results}: run `bench run` first, or name another folder with --results")
    interrupt.work_begins()
    check_writable(results)
    records, warnings, written = leaderboard.remake(results)
    terminal.render(records, console)
    console.print("written: " + ", ".join(map(str, written)), highlight=False, soft_wrap=True)
    for warning in warnings:
        log.warning("%s", warning)
    return 2 if warnings else 0


def show(key: str, results: Path) -> None:
    """Print a record."""
    path = Records(results).find(key)
    if path is None:
        raise BenchError(f"no record {key} in {results}/records; `bench report` lists the keys")
    record = read_record(path)
    console = Console()
    console.print(terminal.sweep_table(record))
    console.print_json(data={k: v for k, v in record.items() if k not in ("levels",)})


def validate(
    key: str,
    device: str,
    settings: list[str],
    levels: str | None,
    time_s: float | None,
    chips: int,
    on: str,
    data: Path | None,
) -> None:
    """Sweep a network of the checkpoint store over the validation split, on chips that no test chip equals."""
    from rich.table import Table

    from bench import fast, plan
    from bench.runner import Runner, title
    from bench.spec import Training

    processor, monitor = fast.processor(on), Monitor()
    runner = Runner(home=home(), results=Path(), data_dir=data, processor=processor, monitor=monitor)
    training = Training.from_dict(runner.checkpoints.find(key)["training"])
    interrupt.work_begins()
    means = runner.validate(
        training,
        _device(device, settings),
        None if levels is None else plan.parse_numbers(levels, "levels"),
        time_s,
        chips,
    )
    table = Table(title=f"{title(training)}: validation on {device}, {chips} chips a level", title_justify="left")
    for level in means:
        table.add_column(f"{level:g}", justify="right")
    table.add_row(*(f"{mean:.2f}" for mean in means.values()))
    Console().print(table)


def speed(rounds: int, network: str | None, plain_chips: int, on: str, data: Path | None, results: Path) -> None:
    """Measure, show, and keep in results/speed.json and SPEED.md."""
    from bench import fast, speed
    from bench.timing import tables

    interrupt.work_begins()
    check_writable(results)
    cases = tuple(case for case in speed.CASES if case.network.startswith(network or ""))
    if not cases:
        raise BenchError(f"network '{network}': must begin like one of {', '.join(c.network for c in speed.CASES)}")
    figures = speed.measure(
        fast.processor(on), data, rounds=rounds, cases=cases, plain_chips=plain_chips, monitor=Monitor()
    )
    speed.write(figures, results)
    Console().print(tables.terminal(figures))


def device_fit(cells: Path, out: Path, g_max: float, source: str) -> None:
    """Fit a table to measured cells and write it."""
    from bench import fit, registry

    if out.suffix != ".json" or out.stem in registry.entries("devices"):
        raise BenchError(f"--out {out}: must end in .json and not be named as a registered device")
    interrupt.work_begins()
    table = fit.fit_file(cells, out, out.stem, g_max, source)
    about = table["provenance"]
    Console().print(f"{out}: {about['cells']} cells, {len(table['times_s'])} times", highlight=False)
    Console().print(f"use it: bench run --device {out} ...", highlight=False)


def device_show(name: str, settings: list[str], time_s: float | None, out: Path | None) -> None:
    """Tabulate and plot a device."""
    from rich.table import Table
    from rich.text import Text

    from bench import device_show

    device = _device(name, settings)
    device.check(0.0, time_s)
    picture = out or Path(f"{device.name}.png")
    if picture.suffix not in (".png", ".pdf", ".svg"):
        raise BenchError(f"--out {picture}: must end in .png, .pdf or .svg")
    frame = device_show.describe(device, time_s)
    about = f"{device.name}: chip weight relative to max|w|\nmapping: {device.mapping}"
    if device.source:
        about += f"\nsource: {device.source}"
    table = Table(title=Text(about), title_justify="left")  # Text, since a [ in a source is no markup
    for column in frame.columns:
        table.add_column(str(column), justify="right")
    for row in frame.itertuples(index=False):
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row))
    Console().print(table)
    interrupt.work_begins()
    device_show.plot(device, picture, time_s)
    Console().print(f"plot: {picture}", highlight=False)
