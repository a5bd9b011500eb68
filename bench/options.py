"""Options that several commands take: meaning and type, by name. Each command states its own default."""

from pathlib import Path
from typing import Annotated

import typer

from bench.errors import BenchError
from bench.files import place


def folder(name: str) -> Path:
    """What a user names as a folder: a path, or the URL of an object store."""
    try:
        return place(name)
    except BenchError as error:
        raise typer.BadParameter(str(error)) from None


# What is run
Methods = Annotated[str, typer.Option(help="Methods, with commas, or 'all'.")]
Devices = Annotated[str, typer.Option(help="Devices, with commas, or 'all'; a fitted .json file is one too.")]
Tasks = Annotated[str, typer.Option(help="Tasks, with commas, or 'all'.")]
Seeds = Annotated[str, typer.Option(help="Seeds: 0, 0,1 or 0-4.")]
Preset = Annotated[str, typer.Option(help="smoke, quick, standard or paper; auto: quick, paper on a GPU.")]
Network = Annotated[
    str | None,
    typer.Option(
        help="Network of the task, or timm:NAME, with arguments of its own as timm:NAME?KEY=VALUE,KEY=VALUE: "
        "'timm:vit_tiny_patch16_224?img_size=32,patch_size=8', 'timm:mobilenetv2_050?stem_stride=1'."
    ),
]
Width = Annotated[float | None, typer.Option(help="Factor on the network's width.")]

# How it is trained
TrainLevel = Annotated[
    float | None,
    typer.Option(
        help="Training level on the device's axis, of mtrd the student's own; by default the device's, "
        "which `bench list DEVICE` shows."
    ),
]
TrainOn = Annotated[str | None, typer.Option(help="Device to train on, if not the test device.")]
Budget = Annotated[
    str,
    typer.Option(
        help="preset, or matched: epochs that give every method as many forward-backward passes, teachers and "
        "first phases included, as noise_injection takes."
    ),
]
Advise = Annotated[
    bool,
    typer.Option("--advise", help="Show which methods are tied for best on each device and task, at what cost."),
]
Epochs = Annotated[int | None, typer.Option(help="Epochs from scratch.")]
FinetuneEpochs = Annotated[int | None, typer.Option(help="Epochs with noise, or of distillation.")]
BatchSize = Annotated[int | None, typer.Option(help="Samples a training step.")]
Rate = Annotated[float | None, typer.Option(help="Peak learning rate from scratch.")]
TrainSamples = Annotated[int | None, typer.Option(help="Train on a subset of so many.")]
CellSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="method.NAME=VALUE, METHOD.NAME=VALUE for one, or device.NAME=VALUE; `bench list NAME` has them.",
    ),
]
DeviceSettings = Annotated[list[str] | None, typer.Option("--set", help="device.NAME=VALUE.")]
Tuned = Annotated[bool, typer.Option("--tuned", help="With the settings and level that bench tune found.")]

# How it is tested
Levels = Annotated[str | None, typer.Option(help="Test levels, with commas.")]
RunTime = Annotated[
    float | None,
    typer.Option(
        "--time",
        help="Seconds since programming, in training and tests; with --sweep time in training alone. "
        "By default the device's.",
    ),
]
Sweep = Annotated[
    str,
    typer.Option(
        help="What is swept: level, or time. A sweep of times is at one level: that of --levels; without it at 1 "
        "where the axis is a multiplier, else at the device's training level."
    ),
]
Times = Annotated[
    str | None,
    typer.Option(
        help="Test times of --sweep time in s, with commas; by default 1 s, 1 h, 1 d, 30 d, 1 y, those of them "
        "that the device's source covers."
    ),
]
TestSamples = Annotated[int | None, typer.Option(help="Test on a subset of so many.")]
Chips = Annotated[int | None, typer.Option(help="A fixed number of chips a level.")]
HalfWidth = Annotated[
    float | None,
    typer.Option(
        help="At each level, as many chips as bring the mean's 95% interval to +- this, in the metric's unit "
        "(accuracy: points of %)."
    ),
]
SamplesPerChip = Annotated[
    str | None, typer.Option(help="Random test samples for each chip instead of all; auto: the fastest.")
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Only list the cells, what is done, what can't be and why, and about how many hours are left."
    ),
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Sweep again even if the record is there; what BENCH_HOME has isn't trained again."),
]

# Where, and with what
Precision = Annotated[str, typer.Option(help="auto, bf16 or fp32.")]
On = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads; with --workers or --cluster: of each cell.")]
Workers = Annotated[
    int | None,
    typer.Option(
        help="So many cells side by side on this machine, by Ray: needs pip install 'cim-bench\\[cluster]'.", min=1
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(help="The Ray cluster whose machines share the cells: auto, HOST:PORT or ray://HOST:PORT."),
]
GpuShare = Annotated[
    float | None, typer.Option(help="GPUs that each cell takes, such as 0.25; by default a cluster's cells take one.")
]
Data = Annotated[Path | None, typer.Option(help="Folder that holds the data set already.", file_okay=False)]
Results = Annotated[
    Path,
    typer.Option("--results", parser=folder, help="Folder, or URL such as s3://..., of records and plots."),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
