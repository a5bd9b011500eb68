"""The commands, nothing else. Heavy imports wait until a command needs them."""

import io
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import interrupt
from bench.errors import BenchError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Which training method makes a network survive memristive hardware? Train, sweep, compare.",
)
device_app = typer.Typer(no_args_is_help=True, help="Fit a device to measured cells, or look at devices.")
app.add_typer(device_app, name="device")

Results = Annotated[Path, typer.Option("--results", help="Folder of records, leaderboard and plots.")]
On = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
DeviceSettings = Annotated[list[str] | None, typer.Option("--set", help="device.NAME=VALUE.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


@app.command()
def run(
    method: Annotated[str, typer.Option(help="Methods, with commas, or 'all'.")],
    device: Annotated[str, typer.Option(help="Devices, with commas, or 'all'; a fitted .json file is one too.")],
    task: Annotated[str, typer.Option(help="Tasks, with commas, or 'all'.")],
    seed: Annotated[str, typer.Option(help="Seeds: 0, 0,1 or 0-4.")] = "0",
    preset: Annotated[str, typer.Option(help="smoke, quick, standard or paper; auto: quick, paper on a GPU.")] = "auto",
    network: Annotated[str | None, typer.Option(help="Network of the task, or timm:NAME.")] = None,
    width: Annotated[float | None, typer.Option(help="Factor on the network's width.")] = None,
    level: Annotated[
        float | None,
        typer.Option(
            help="Training level on the device's axis, of mtrd the student's own; by default the device's, "
            "which `bench list DEVICE` shows."
        ),
    ] = None,
    levels: Annotated[str | None, typer.Option(help="Test levels, with commas.")] = None,
    time: Annotated[
        float | None,
        typer.Option(
            "--time",
            help="Seconds since programming, in training and tests; with --sweep time in training alone. "
            "By default the device's.",
        ),
    ] = None,
    sweep: Annotated[
        str,
        typer.Option(
            help="What is swept: level, or time. A sweep of times is at one level: that of --levels; without it at 1 "
            "where the axis is a multiplier, else at the device's training level."
        ),
    ] = "level",
    times: Annotated[
        str | None,
        typer.Option(
            help="Test times of --sweep time in s, with commas; by default 1 s, 1 h, 1 d, 30 d, 1 y, those of them "
            "that the device's source covers."
        ),
    ] = None,
    train_on: Annotated[str | None, typer.Option(help="Device to train on, if not the test device.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs from scratch.")] = None,
    finetune_epochs: Annotated[int | None, typer.Option(help="Epochs with noise, or of distillation.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples a training step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate from scratch.")] = None,
    train_samples: Annotated[int | None, typer.Option(help="Train on a subset of so many.")] = None,
    test_samples: Annotated[int | None, typer.Option(help="Test on a subset of so many.")] = None,
    chips: Annotated[int | None, typer.Option(help="A fixed number of chips a level.")] = None,
    half_width: Annotated[
        float | None,
        typer.Option(
            help="At each level, as many chips as bring the mean's 95% interval to +- this, in the metric's unit "
            "(accuracy: points of %)."
        ),
    ] = None,
    samples_per_chip: Annotated[
        str | None, typer.Option(help="Random test samples for each chip instead of all; auto: the fastest.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="method.NAME=VALUE, METHOD.NAME=VALUE for one, or device.NAME=VALUE; `bench list NAME` has them.",
        ),
    ] = None,
    precision: Annotated[str, typer.Option(help="auto, bf16 or fp32.")] = "auto",
    on: On = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder that holds the data set already.")] = None,
    results: Results = Path("results"),
    force: Annotated[bool, typer.Option("--force", help="Sweep again even if the record is there.")] = False,
    tuned: Annotated[bool, typer.Option("--tuned", help="With the settings and level that bench tune found.")] = False,
    debug: Debug = False,
) -> None:
    """Train every cell of method x device x task x seed, sweep it, and put it on the leaderboard."""
    from bench import commands

    options = {k: v for k, v in locals().items() if k not in ("commands", "debug")}
    options["settings"] = options.pop("set_") or []
    code = commands.run(**options)
    if code:
        raise typer.Exit(code)


@app.command()
def matrix(
    method: Annotated[str, typer.Option(help="The method.")],
    task: Annotated[str, typer.Option(help="The task.")],
    device: Annotated[
        str, typer.Option("--devices", help="Devices, with commas, or 'all'; 'ideal' is only tested on.")
    ] = "all",
    seed: Annotated[str, typer.Option(help="Seeds: 0, 0,1 or 0-4.")] = "0",
    preset: Annotated[str, typer.Option(help="smoke, quick, standard or paper; auto: quick, paper on a GPU.")] = "auto",
    network: Annotated[str | None, typer.Option(help="Network of the task, or timm:NAME.")] = None,
    width: Annotated[float | None, typer.Option(help="Factor on the network's width.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs from scratch.")] = None,
    finetune_epochs: Annotated[int | None, typer.Option(help="Epochs with noise, or of distillation.")] = None,
    train_samples: Annotated[int | None, typer.Option(help="Train on a subset of so many.")] = None,
    test_samples: Annotated[int | None, typer.Option(help="Test on a subset of so many.")] = None,
    chips: Annotated[int | None, typer.Option(help="A fixed number of chips a cell.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="method.NAME=VALUE or device.NAME=VALUE.")] = None,
    precision: Annotated[str, typer.Option(help="auto, bf16 or fp32.")] = "auto",
    on: On = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder that holds the data set already.")] = None,
    results: Results = Path("results"),
    debug: Debug = False,
) -> None:
    """Train on each device, test on all, each at its training level: heat map and table in RESULTS/matrix."""
    from bench import commands

    options = {k: v for k, v in locals().items() if k not in ("commands", "debug")}
    options["settings"] = options.pop("set_") or []
    code = commands.matrix(**options)
    if code:
        raise typer.Exit(code)


@app.command()
def tune(
    method: Annotated[str, typer.Option(help="Methods, with commas, or 'all'; each gets so many trials.")],
    device: Annotated[str, typer.Option(help="Devices, with commas, or 'all'; a fitted .json file is one too.")],
    task: Annotated[str, typer.Option(help="Tasks, with commas, or 'all'.")],
    trials: Annotated[int, typer.Option(help="Trials of each method, those of earlier calls included.", min=1)] = 30,
    timeout: Annotated[float | None, typer.Option(help="Seconds a method, after which no trial begins.")] = None,
    storage: Annotated[
        str | None, typer.Option(help="Optuna storage URL; by default a SQLite file in BENCH_HOME.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes on one study; other machines may join.", min=1)] = 1,
    val_chips: Annotated[int, typer.Option(help="Validation chips a level for each trial.", min=1)] = 3,
    seed: Annotated[int, typer.Option(help="Training seed.", min=0)] = 0,
    preset: Annotated[str, typer.Option(help="smoke, quick, standard or paper; auto: quick, paper on a GPU.")] = "auto",
    network: Annotated[str | None, typer.Option(help="Network of the task, or timm:NAME.")] = None,
    width: Annotated[float | None, typer.Option(help="Factor on the network's width.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs from scratch.")] = None,
    finetune_epochs: Annotated[int | None, typer.Option(help="Epochs with noise, or of distillation.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples a training step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate from scratch.")] = None,
    train_samples: Annotated[int | None, typer.Option(help="Train on a subset of so many.")] = None,
    test_samples: Annotated[int | None, typer.Option(help="Test, at the end, on a subset of so many.")] = None,
    chips: Annotated[int | None, typer.Option(help="A fixed number of test chips a level.")] = None,
    set_: DeviceSettings = None,
    precision: Annotated[str, typer.Option(help="auto, bf16 or fp32.")] = "auto",
    on: On = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads, of all workers together.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder that holds the data set already.")] = None,
    results: Results = Path("results"),
    debug: Debug = False,
) -> None:
    """Search each method's settings on validation chips, save the best for `bench run --tuned`, and test them."""
    from bench import commands

    options = {k: v for k, v in locals().items() if k not in ("commands", "debug")}
    options["settings"] = options.pop("set_") or []
    code = commands.tune(**options)
    if code:
        raise typer.Exit(code)


@app.command(name="list")
def list_(
    name: Annotated[
        str | None, typer.Argument(help="One of them: its levels, times, networks and settings, with defaults.")
    ] = None,
    debug: Debug = False,
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
def report(results: Results = Path("results"), debug: Debug = False) -> None:
    """Remake leaderboard, CSV and plots from the records, and show the leaderboard."""
    from bench import commands

    code = commands.report(results)
    if code:
        raise typer.Exit(code)


@app.command()
def show(
    key: Annotated[str, typer.Argument(help="Key of a record, or its beginning; `bench report` lists them.")],
    results: Results = Path("results"),
    json: Annotated[bool, typer.Option("--json", help="The whole record, as JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Print one record: its sweep, what was trained and tested, cost, keys and the command that remakes it."""
    from bench import commands

    commands.show(key, results, json)


@app.command()
def validate(
    key: Annotated[str, typer.Argument(help="Key of a training or of a record, or its beginning; `bench show KEY`.")],
    device: Annotated[str, typer.Option(help="Device to validate on.")],
    levels: Annotated[str | None, typer.Option(help="Levels, with commas.")] = None,
    time: Annotated[float | None, typer.Option("--time", help="Seconds since programming.")] = None,
    chips: Annotated[int, typer.Option(help="Validation chips a level.", min=1)] = 3,
    set_: DeviceSettings = None,
    on: On = "auto",
    data: Annotated[Path | None, typer.Option(help="Folder that holds the data set already.")] = None,
    results: Results = Path("results"),
    debug: Debug = False,
) -> None:
    """Sweep a trained network over the validation split: what recipes and settings may be chosen by."""
    from bench import commands

    commands.validate(key, device, set_ or [], levels, time, chips, on, data, results)


@app.command()
def speed(
    rounds: Annotated[int, typer.Option(help="Turns of each contender.", min=1)] = 3,
    network: Annotated[str | None, typer.Option(help="Only the networks whose name begins so.")] = None,
    methods: Annotated[
        str | None, typer.Option(help="Only the training steps of these methods, against nominal's; commas, or 'all'.")
    ] = None,
    plain_chips: Annotated[int, typer.Option(help="Independent chips that a decision is held against.", min=10)] = 1000,
    profile: Annotated[bool, typer.Option("--profile", help="Only where the time goes, by kind of work.")] = False,
    on: On = "auto",
    data: Annotated[Path | None, typer.Option(help="Folder that holds the data sets already.")] = None,
    results: Results = Path("results"),
    debug: Debug = False,
) -> None:
    """Time training steps, chips and decisions, ours and the published way, taking turns in one run."""
    from bench import commands

    commands.speed(rounds, network, methods, plain_chips, profile, on, data, results)


@device_app.command(name="fit")
def device_fit(
    cells: Annotated[Path, typer.Argument(help="csv or tsv of measured cells; docs/devices.md has the columns.")],
    out: Annotated[Path, typer.Option(help="Table to write; its stem is the device's name.")],
    g_max: Annotated[float, typer.Option("--g-max", help="Highest conductance to map weights to, in uS.")] = 40.0,
    source: Annotated[str, typer.Option(help="Where the cells come from, for the provenance.")] = "",
    debug: Debug = False,
) -> None:
    """Fit the deviation of measured cells; use the table with `bench run --device FILE`."""
    from bench import commands

    commands.device_fit(cells, out, g_max, source)


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
    set_: DeviceSettings = None,
    out: Annotated[Path | None, typer.Option(help="Picture to write (default: NAME.png here).")] = None,
    debug: Debug = False,
) -> None:
    """Tabulate and plot what a device does to a weight, and to a single cell where it has conductances."""
    from bench import commands

    commands.device_show(name, set_ or [], level=level, times=time, at=at, cells=cells, as_json=json, out=out)


@device_app.command(name="docs")
def device_docs(
    out: Annotated[Path, typer.Option(help="Folder of devices-figures.md and devices/NAME.png.")] = Path("docs"),
    results: Results = Path("results"),
    debug: Debug = False,
) -> None:
    """Picture every device, and tabulate what it does to weights and to a network, at each level of its axis."""
    from bench import commands

    commands.device_docs(out, results)


def main() -> None:
    """Run a command: a user's mistake is one line and exit code 2, Ctrl-C is 130, a traceback only with --debug."""
    debug = "--debug" in sys.argv
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without a letter gets a ? in its place
    logging.basicConfig(format="%(message)s", level=logging.WARNING, handlers=[_Stderr()])
    logging.getLogger("bench").setLevel(logging.DEBUG if debug else logging.INFO)
    try:
        code = app(prog_name="bench", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = interrupt.EXIT_CODE
    except Exception as error:
        if debug:
            raise
        _end(*_one_line(error))
    if code == interrupt.EXIT_CODE:  # some versions of typer catch Ctrl-C and return this
        _end(interrupt.TEXT, interrupt.EXIT_CODE)
    sys.exit(code or 0)


class _Stderr(logging.StreamHandler[Any]):
    """Writes to what sys.stderr is at the time, so that a log line doesn't tear a live progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def _one_line(error: Exception) -> tuple[str, int]:
    """What a person is told, and the exit code: 2 for what they can mend, 1 for our own faults."""
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error), 2
    if (message := getattr(error, "format_message", None)) is not None:  # typer's own usage errors
        if type(error).__name__ == "NoArgsIsHelpError":  # the help is printed already
            return "", 2
        context = getattr(error, "ctx", None)
        where = f"; see {context.command_path} --help" if context else ""
        return f"{' '.join(message().split()).rstrip('.')}{where}", 2
    text = " ".join(str(error).split())
    if isinstance(error, BenchError) or _is_user_error(error):
        return text, 2
    return f"{type(error).__name__}: {text} (a fault of the bench; --debug shows where)", 1


def _is_user_error(error: Any) -> bool:
    names = {"DeviceError", "SettingError", "UnknownProduct", "TaskError", "MethodError", "FitError"}
    return any(cls.__name__ in names for cls in type(error).__mro__)


def _end(text: str, code: int) -> None:
    if text:
        print(f"bench: {text}", file=sys.stderr)
    sys.exit(code)
