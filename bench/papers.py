"""Figures that papers print: mean metric by test level or time, and how it was trained and tested there."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Published:
    """One row of a paper's table.

    `where`: paper and table; `setting`: how theirs was made. `train_level` 0: trained without noise; None: at whatever
    level the device trains, or, where `each`, at every test level another network, trained at that level. `values` by
    level, or by time in s after programming where `sweep` is time_s.
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


SIGMAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
HOUR, DAY, YEAR = 3600.0, 86_400.0, 31_536_000.0


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
    )


def _hwa(task: str, network: str, first: float, last: float, setting: str, unit: str = "%") -> Published:
    return Published(
        where="Rasch et al. (hardware-aware training), over a year, as replicated",
        setting=f"{setting}; all cells drift alike, and the compensation undoes just that",
        task=task,
        network=network,
        device="pcm",
        method="hwa",
        train_level=None,
        sweep="time_s",
        unit=unit,
        values={1.0: first, YEAR: last},
    )


TABLES = (
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
    _hwa("cifar100", "wrn16_4", 76.95, 76.94, "teacher 200 epochs, student 80"),
    _hwa("language:wikitext2", "lstm", 259.05, 259.09, "LSTM 2 x 200", unit="perplexity"),
    _hwa("text:sst2", "bert", 92.0, 92.0, "BERT-base, 3 epochs; about 92% throughout"),
)
