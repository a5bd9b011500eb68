"""Figures that papers print: mean metric by test level or time, and how it was trained and tested there.

All that is at hand of the papers that methods and devices cite: whoever adds a method of another paper adds its figures
to TABLES, or to WITHOUT why there are none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Published:
    """One row of a paper's table.

    `where`: paper and table; `setting`: how theirs was made. `train_level` 0: trained without noise; None: at whatever
    level the device trains, or, where `each`, at every test level another network, trained at that level. `values` by
    level, or by time in s after programming where `sweep` is time_s. With `minus` they are differences, of this row and
    that one. `unrun`: why there may be no record of it; `here`: is its network one of ours?
    """

    where: str
    setting: str
    task: str
    network: str
    device: str
    method: str
    train_level: float | None
    each: bool = False
    sweep: str = "level"
    unit: str = "%"
    values: Mapping[float, float] = field(default_factory=dict)
    minus: "Published | None" = None
    unrun: str = ""
    here: bool = True


SIGMAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
YEAR = 31_536_000.0
SHORT = "hours a network on two cores; nobody ran it so far"
# How much dearer than vgg8_mtrd on cifar10 a network is, by its multiply-adds (docs/tasks.md).
UNRUN = {
    "vgg16": f"4.6 times the work of vgg8_mtrd on cifar10, {SHORT}",
    "vgg8": f"8 times the work of vgg8_mtrd on cifar10, {SHORT}; docs/published.md has their order with vgg8_mtrd",
    "resnet18": f"8 times the work of vgg8_mtrd on cifar10, {SHORT}",
}


def _mtrd(network: str, method: str, train_level: float | None, *values: float) -> Published:
    return Published(
        where="Wu et al. (MTRD), CIFAR-10",
        setting="200 epochs, batch 64, rate 0.01; 20 chips, new for each method; checkpoints chosen on the test set",
        task="cifar10",
        network=network,
        device="rram",
        method=method,
        train_level=train_level,
        values=dict(zip(SIGMAS, values, strict=True)),
        unrun=UNRUN.get(network, ""),
    )


def _neft(task: str, network: str, method: str, *values: float) -> Published:
    """Values from the lowest sigma_d up; some rows end early."""
    title = {"cifar10": "CIFAR-10", "mnist": "MNIST"}[task]
    return Published(
        where=f"Qin et al. (NeFT), {title}, read off a figure to about 0.1",
        setting="200 epochs, batch 128; a network for every sigma; 1,000 chips",
        task=task,
        network=network,
        device="rram1",
        method=method,
        train_level=0.0 if method == "nominal" else None,
        each=method != "nominal",
        values=dict(zip(SIGMAS[:5], values, strict=False)),
        unrun=UNRUN[network],
    )


def _hwa(task: str, network: str, first: float, last: float, setting: str, unrun: str, **more: Any) -> Published:
    return Published(
        where="Rasch et al. (hardware-aware training), over a year, as replicated",
        setting=f"{setting}; all cells drift alike, and the compensation undoes just that",
        task=task,
        network=network,
        device="pcm",
        method="hwa",
        train_level=None,
        sweep="time_s",
        values={1.0: first, YEAR: last},
        unrun=unrun,
        **more,
    )


def _claim(row: Published, minus: Published, level: float, points: float, setting: str, unrun: str = "") -> Published:
    """What the paper says in a sentence: by how much a method is better than another at a level."""
    paper, title = row.where.split(", ")[:2]
    changes: dict[str, Any] = {"where": f"{paper}, {title}, the claim", "setting": setting, "unit": "points"}
    return replace(row, **changes, values={level: points}, minus=minus, unrun=unrun)


TABLES: tuple[Published, ...] = (
    _mtrd("vgg8_mtrd", "nominal", 0.0, 91.64, 90.58, 86.50, 78.85, 65.24, 45.38),
    _mtrd("vgg8_mtrd", "noise_injection", 0.1, 91.22, 90.80, 88.59, 83.53, 74.76, 58.31),
    _mtrd("vgg8_mtrd", "noise_injection", 0.3, 89.72, 89.57, 88.99, 87.37, 83.67, 75.39),
    _mtrd("vgg8_mtrd", "noise_injection", 0.5, 84.08, 84.24, 85.18, 85.31, 83.91, 82.25),
    _mtrd("vgg8_mtrd", "mtrd", 0.3, 91.17, 90.20, 89.81, 88.78, 85.87, 79.99),
    _mtrd("vgg8_mtrd", "mixed_noise", None, 90.38, 90.06, 88.83, 86.82, 82.29, 72.01),
    _mtrd("vgg16", "nominal", 0.0, 93.73, 93.29, 92.41, 89.95, 83.15, 66.79),
    _mtrd("vgg16", "noise_injection", 0.3, 92.69, 92.68, 92.48, 92.10, 90.28, 84.71),
    _mtrd("vgg16", "noise_injection", 0.5, 84.53, 85.10, 86.77, 88.70, 89.85, 89.61),
    _mtrd("vgg16", "mtrd", 0.3, 93.53, 93.28, 92.98, 92.40, 91.42, 88.91),
    _neft("cifar10", "vgg8", "nominal", 93.1, 81.5, 32.0),
    _neft("cifar10", "vgg8", "noise_injection", 93.1, 90.5, 83.3, 71.2, 55.4),
    _neft("cifar10", "vgg8", "correctnet", 93.1, 80.4, 58.8, 40.7, 29.0),
    _neft("cifar10", "vgg8", "neft_ovf", 93.1, 90.2, 83.7, 72.5, 62.2),
    _neft("cifar10", "vgg8", "neft_irs", 93.1, 90.6, 83.9, 74.0, 67.0),
    _neft("cifar10", "resnet18", "nominal", 92.7, 77.8, 23.1, 10.8, 10.0),
    _neft("cifar10", "resnet18", "noise_injection", 92.7, 89.7, 74.6, 50.1, 28.3),
    _neft("cifar10", "resnet18", "correctnet", 92.7, 82.2, 72.2, 56.1, 35.0),
    _neft("cifar10", "resnet18", "neft_ovf", 93.4, 91.0, 81.1, 63.5, 44.6),
    _neft("cifar10", "resnet18", "neft_irs", 93.8, 91.0, 81.6, 65.8, 48.6),
    _neft("mnist", "vgg8", "nominal", 99.65, 96.9, 74.0, 45.4, 29.0),
    _neft("mnist", "vgg8", "noise_injection", 99.65, 99.6, 99.5, 86.6, 54.2),
    _neft("mnist", "vgg8", "correctnet", 99.65, 99.2, 97.3, 89.5, 55.9),
    _neft("mnist", "vgg8", "neft_ovf", 99.68, 99.6, 99.5, 99.5, 98.8),
    _neft("mnist", "vgg8", "neft_irs", 99.66, 99.6, 99.5, 90.2, 57.9),
    _hwa(
        "cifar100", "wrn16_4", 76.95, 76.94, "teacher 200 epochs, student 80",
        f"6 times the work of vgg8_mtrd on cifar10, {SHORT}",
    ),
    _hwa(
        "language:wikitext2", "lstm_lm", 259.05, 259.09, "LSTM 2 x 200",
        "the data must be given (--data DIR); nobody ran it so far", unit="perplexity",
    ),
    _hwa(
        "text:sst2", "BERT-base", 92.0, 92.0, "BERT-base, 3 epochs; about 92% throughout",
        "a network that is not here: text:sst2 has MiniLM, which is smaller", here=False,
    ),
)  # fmt: skip


def _row(where: str, network: str, method: str) -> Published:
    return next(r for r in TABLES if (r.where.startswith(where), r.network, r.method) == (True, network, method))


TABLES += (
    _claim(
        _row("Wu", "vgg8_mtrd", "mtrd"), _row("Wu", "vgg8_mtrd", "nominal"), 0.5, 33.7,
        "as the paper says it; the difference in its own table is 34.61",
    ),
    _claim(
        _row("Qin et al. (NeFT), MNIST", "vgg8", "neft_ovf"),
        _row("Qin et al. (NeFT), MNIST", "vgg8", "correctnet"), 0.35, 45.08,
        "as the paper says it, at a sigma between two of its figure",
        UNRUN["vgg8"],
    ),
)  # fmt: skip

_UNSEEN = "no figure of it was at hand"
_CELLS = "formulas of cells; docs/published.md holds ours to them"
WITHOUT: Mapping[str, str] = {
    "Moro et al. (MAT)": "settings and networks were at hand, but no figure",
    "Ye et al. 2023 (BayesFT)": _UNSEEN,
    "Eldebiky et al. 2022 (CorrectNet)": f"{_UNSEEN}; what Qin et al. (NeFT) print of it is above",
    "Foret et al. 2021 (SAM)": _UNSEEN,
    "Kwon et al. 2021 (ASAM)": _UNSEEN,
    "Yan et al. 2023 (TRICE)": _UNSEEN,
    "Wang et al. 2025 (VANT)": _UNSEEN,
    "Li et al. 2017 (AdaBN)": _UNSEEN,
    "Joksas et al. 2022 (nonideality-aware training)": f"no error rate was at hand; {_CELLS}",
    "Joshi et al. 2020 (PCM)": _CELLS,
    "Nandakumar et al. 2019 (PCM)": _CELLS,
    "Wan et al. 2022 (NeuRRAM)": _CELLS,
    "Falcone et al. 2025 (CMO/HfOx)": _CELLS,
    "Levy (RRAM relaxation data)": "measured cells, of which rram1t1r is made",
}
