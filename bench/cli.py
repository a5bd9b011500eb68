"""The commands, nothing else. Heavy imports wait until a command needs them."""

import io
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import cli_records, endings, interrupt
from bench import options as opt

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Which training method makes a network survive memristive hardware? Train, sweep, compare.",
)
device_app = typer.Typer(no_args_is_help=True, help="Fit a device to measured cells, or look at devices.")
app.add_typer(device_app, name="device")
app.add_typer(cli_records.app)


def _do(command: Callable[..., int], given: dict[str, Any]) -> None:
    """Hand the options of a command to the function that does it; how that ended is the exit code."""
    options = {name: value for name, value in given.items() if name not in ("command", "commands", "debug")}
    if "set_" in options:
        options["settings"] = options.pop("set_") or []
    if code := command(**options):
        raise typer.Exit(code)


@app.command()
def run(
    method: opt.Methods,
    device: opt.Devices,
    task: opt.Tasks,
    seed: opt.Seeds = "0",
    preset: opt.Preset = "auto",
    network: opt.Network = None,
    width: opt.Width = None,
    level: opt.TrainLevel = None,
    levels: opt.Levels = None,
    time: opt.RunTime = None,
    sweep: opt.Sweep = "level",
    times: opt.Times = None,
    train_on: opt.TrainOn = None,
    budget: opt.Budget = "preset",
    epochs: opt.Epochs = None,
    finetune_epochs: opt.FinetuneEpochs = None,
    batch_size: opt.BatchSize = None,
    lr: opt.Rate = None,
    train_samples: opt.TrainSamples = None,
    test_samples: opt.TestSamples = None,
    chips: opt.Chips = None,
    half_width: opt.HalfWidth = None,
    samples_per_chip: opt.SamplesPerChip = None,
    set_: opt.CellSettings = None,
    precision: opt.Precision = "auto",
    on: opt.On = "auto",
    threads: opt.Threads = None,
    workers: opt.Workers = None,
    cluster: opt.Cluster = None,
    gpu_share: opt.GpuShare = None,
    data: opt.Data = None,
    results: opt.Results = Path("results"),
    force: opt.Force = False,
    dry_run: opt.DryRun = False,
    tuned: opt.Tuned = False,
    debug: opt.Debug = False,
) -> None:
    """Train every cell of method x device x task x seed, sweep it, and put it on the leaderboard."""
    from bench import commands

    _do(commands.run, locals())


@app.command()
def demo(
    results: Annotated[
        Path, typer.Option("--results", parser=opt.folder, help="Folder of the demo's records and tables.")
    ] = Path("bench-demo"),
    on: opt.On = "auto",
    threads: opt.Threads = None,
    data: opt.Data = None,
    debug: opt.Debug = False,
) -> None:
    """A first look in half a minute or so: three methods on Fashion-MNIST and measured RRAM cells, then the report."""
    from bench import commands

    _do(commands.demo, locals())


@app.command()
def matrix(
    method: Annotated[str, typer.Option(help="The method.")],
    task: Annotated[str, typer.Option(help="The task.")],
    device: Annotated[
        str, typer.Option("--devices", help="Devices, with commas, or 'all'; 'ideal' is only tested on.")
    ] = "all",
    seed: opt.Seeds = "0",
    preset: opt.Preset = "auto",
    network: opt.Network = None,
    width: opt.Width = None,
    epochs: opt.Epochs = None,
    finetune_epochs: opt.FinetuneEpochs = None,
    train_samples: opt.TrainSamples = None,
    test_samples: opt.TestSamples = None,
    chips: Annotated[int | None, typer.Option(help="A fixed number of chips a cell.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="method.NAME=VALUE or device.NAME=VALUE.")] = None,
    precision: opt.Precision = "auto",
    on: opt.On = "auto",
    threads: opt.Threads = None,
    workers: opt.Workers = None,
    cluster: opt.Cluster = None,
    gpu_share: opt.GpuShare = None,
    data: opt.Data = None,
    results: opt.Results = Path("results"),
    debug: opt.Debug = False,
) -> None:
    """Train on each device, test on all, each at its training level: heat map and table in RESULTS/matrix."""
    from bench import commands

    _do(commands.matrix, locals())


@app.command()
def tune(
    method: Annotated[str, typer.Option(help="Methods, with commas, or 'all'; each gets so many trials.")],
    device: opt.Devices,
    task: opt.Tasks,
    trials: Annotated[int, typer.Option(help="Trials of each method, those of earlier calls included.", min=1)] = 30,
    timeout: Annotated[float | None, typer.Option(help="Seconds a method, after which no trial begins.")] = None,
    storage: Annotated[
        str | None, typer.Option(help="Optuna storage URL; by default a SQLite file in BENCH_HOME.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes on one study; other machines may join.", min=1)] = 1,
    cluster: opt.Cluster = None,
    gpu_share: opt.GpuShare = None,
    val_chips: Annotated[int, typer.Option(help="Validation chips a level for each trial.", min=1)] = 3,
    seed: Annotated[int, typer.Option(help="Training seed.", min=0)] = 0,
    preset: opt.Preset = "auto",
    network: opt.Network = None,
    width: opt.Width = None,
    epochs: opt.Epochs = None,
    finetune_epochs: opt.FinetuneEpochs = None,
    batch_size: opt.BatchSize = None,
    lr: opt.Rate = None,
    train_samples: opt.TrainSamples = None,
    test_samples: Annotated[int | None, typer.Option(help="Test, at the end, on a subset of so many.")] = None,
    chips: Annotated[int | None, typer.Option(help="A fixed number of test chips a level.")] = None,
    set_: opt.DeviceSettings = None,
    precision: opt.Precision = "auto",
    on: opt.On = "auto",
    threads: Annotated[
        int | None, typer.Option(help="CPU threads, of all workers together; with --cluster: of each trial.")
    ] = None,
    data: opt.Data = None,
    results: opt.Results = Path("results"),
    debug: opt.Debug = False,
) -> None:
    """Search each method's settings on validation chips, save the best for `bench run --tuned`, and test them."""
    from bench.tuning import command

    _do(command.command, locals())


@app.command()
def status(debug: opt.Debug = False) -> None:
    """Show what running commands are at: cells that are done and those in hand, where, and how far each is."""
    from bench import status

    status.show()


@app.command(name="list")
def list_(
    name: Annotated[
        str | None, typer.Argument(help="One of them: its levels, times, networks and settings, with defaults.")
    ] = None,
    debug: opt.Debug = False,
) -> None:
    """Show the registered methods, devices and tasks, and where each comes from; or everything about one."""
    from bench import registry

    if name is not None:
        from bench import listing  # imports torch

        print("\n".join(listing.about(name)))
        return

    # Plain lines, since rich takes as long to import as all the rest of this command.
    for kind in ("methods", "devices", "tasks"):
        known = registry.entries(kind).values()
        width = max((len(entry.name) for entry in known), default=0)
        print(kind)
        for entry in known:
            print(f"  {entry.name:<{width}}  {entry.summary}".rstrip())
            if entry.source:
                print(f"  {'':<{width}}  {entry.source}")
    print("bench list NAME has levels, times, networks and settings of one")


@app.command()
def report(results: opt.Results = Path("results"), advise: opt.Advise = False, debug: opt.Debug = False) -> None:
    """Remake page, leaderboard, CSV, LaTeX and plots from the records, and show the leaderboard."""
    from bench import commands

    _do(commands.report, locals())


@app.command()
def show(
    key: Annotated[str, typer.Argument(help="Key of a record, or its beginning; `bench report` lists them.")],
    results: opt.Results = Path("results"),
    json: Annotated[bool, typer.Option("--json", help="The whole record, as JSON.")] = False,
    debug: opt.Debug = False,
) -> None:
    """Print one record: its sweep, what was trained and tested, cost, keys and the command that remakes it."""
    from bench import commands

    commands.show(key, results, json)


@app.command()
def speed(
    rounds: Annotated[int, typer.Option(help="Turns of each contender.", min=1)] = 3,
    network: Annotated[str | None, typer.Option(help="Only the networks whose name begins so.")] = None,
    methods: Annotated[
        str | None, typer.Option(help="Only the training steps of these methods, against nominal's; commas, or 'all'.")
    ] = None,
    plain_chips: Annotated[int, typer.Option(help="Independent chips that a decision is held against.", min=10)] = 1000,
    profile: Annotated[bool, typer.Option("--profile", help="Only where the time goes, by kind of work.")] = False,
    on: opt.On = "auto",
    data: opt.Data = None,
    results: opt.Results = Path("results"),
    debug: opt.Debug = False,
) -> None:
    """Time training steps, chips and decisions, ours and the published way, taking turns in one run."""
    from bench.timing import command

    command.command(rounds, network, methods, plain_chips, profile, on, data, results)


@device_app.command(name="fit")
def device_fit(
    cells: Annotated[Path, typer.Argument(help="csv or tsv of measured cells; docs/devices.md has the columns.")],
    out: Annotated[Path, typer.Option(help="Table to write; its stem is the device's name.")],
    g_max: Annotated[float, typer.Option("--g-max", help="Highest conductance to map weights to, in uS.")] = 40.0,
    source: Annotated[str, typer.Option(help="Where the cells come from, for the provenance.")] = "",
    debug: opt.Debug = False,
) -> None:
    """Fit the deviation of measured cells; use the table with `bench run --device FILE`."""
    from bench import device_commands

    device_commands.fit(cells, out, g_max, source)


@device_app.command(name="show")
def device_show(
    name: Annotated[str, typer.Argument(help="A device, or a fitted .json file.")],
    time: Annotated[
        str | None,
        typer.Option(
            "--time",
            help="Seconds since programming, with commas: a table of weights each; the picture's at the first.",
        ),
    ] = None,
    level: Annotated[
        float | None, typer.Option(help="Of cells and histogram; by default 1 on a multiplier axis, else for training.")
    ] = None,
    at: Annotated[str | None, typer.Option(help="Conductances of single cells / greatest one, with commas.")] = None,
    cells: Annotated[int | None, typer.Option(help="Single cells for each conductance and time.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Only the single cells, as JSON; a picture if --out.")] = False,
    set_: opt.DeviceSettings = None,
    out: Annotated[Path | None, typer.Option(help="Picture to write (default: NAME.png here).")] = None,
    debug: opt.Debug = False,
) -> None:
    """Tabulate and plot what a device does to a weight, and to a single cell where it has conductances."""
    from bench import device_commands

    device_commands.show(name, set_ or [], level=level, times=time, at=at, cells=cells, as_json=json, out=out)


@device_app.command(name="docs")
def device_docs(
    out: Annotated[Path, typer.Option(help="Folder of devices-figures.md and devices/NAME.png.")] = Path("docs"),
    results: opt.Results = Path("results"),
    debug: opt.Debug = False,
) -> None:
    """Picture every device, and tabulate what it does to weights and to a network, at each level of its axis."""
    from bench import device_commands

    device_commands.docs(out, results)


def main() -> None:
    """Run a command: a user's mistake is one line and exit code 2, Ctrl-C is 130, a traceback only with --debug."""
    debug = "--debug" in sys.argv
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without a letter gets a ? in its place
    logging.basicConfig(format="%(message)s", level=logging.WARNING, handlers=[endings.Stderr()])
    logging.getLogger("bench").setLevel(logging.DEBUG if debug else logging.INFO)
    try:
        code = app(prog_name="bench", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = interrupt.EXIT_CODE
    except Exception as error:
        if debug:
            raise
        endings.end(*endings.one_line(error))
    if code == interrupt.EXIT_CODE:  # some versions of typer catch Ctrl-C and return this
        endings.end(interrupt.TEXT, interrupt.EXIT_CODE)
    sys.exit(code or 0)
