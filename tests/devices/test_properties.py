"""What every registered device keeps to, whatever the weights look like."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench import plan, registry

DEVICES = {name: plan.device_of(name) for name in registry.entries("devices")}
SHAPES = st.sampled_from([(3,), (4, 5), (1, 1), (4, 2, 3, 3), (5, 1, 1, 1), (3, 2, 4), (2, 3, 1, 1)])


@st.composite
def networks(draw: Any) -> dict[str, Tensor]:
    """One to four weight tensors of any shape, size, sign, memory format and precision."""
    weights = {}
    for i in range(draw(st.integers(1, 4))):
        generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
        w = torch.randn(draw(SHAPES), generator=generator) * 10.0 ** draw(st.integers(-3, 2))
        if w.dim() == 4 and draw(st.booleans()):
            w = w.contiguous(memory_format=torch.channels_last)
        if w.dim() == 2 and draw(st.booleans()):
            w = w.T
        weights[f"layer{i}"] = w.bfloat16() if draw(st.integers(0, 3)) == 0 else w
    return weights


def chip_of(name: str, weights: dict[str, Tensor], seed: int, level: float | None = None) -> dict[str, Tensor]:
    device, generator = DEVICES[name], torch.Generator().manual_seed(seed)
    level = device.axis.train_level if level is None else level
    return device.read(device.program(weights, generator, level=level), generator)


@pytest.mark.parametrize("name", DEVICES)
@given(weights=networks(), seed=st.integers(0, 2**31))
@settings(max_examples=25)
def test_a_chip_has_the_form_of_its_weights_and_is_the_same_for_the_same_seed(name, weights, seed):
    before = {layer: w.clone() for layer, w in weights.items()}
    chip = chip_of(name, weights, seed)
    assert list(chip) == list(weights)
    for layer, w in weights.items():
        assert chip[layer].shape == w.shape and chip[layer].dtype == w.dtype
        assert chip[layer].stride() == w.stride() or 1 in w.shape
        assert chip[layer].isfinite().all()
        assert torch.equal(w, before[layer]), "the network is left alone"
    again = chip_of(name, weights, seed)
    assert all(torch.equal(again[layer], chip[layer]) for layer in weights)


@pytest.mark.parametrize("name", DEVICES)
@given(weights=networks(), factor=st.sampled_from([0.125, 0.5, 4.0, -1.0]))
@settings(max_examples=25)
def test_a_chip_scales_with_its_weights_and_turns_its_sign_with_theirs(name, weights, factor):
    """Devices know shares of max|w| alone. A sign moves a weight to the other cell, of other luck: only at level 0."""
    weights = {layer: w.float() for layer, w in weights.items()}
    scaled = {layer: factor * w for layer, w in weights.items()}
    level = 0.0 if factor < 0 else DEVICES[name].axis.train_level
    chip, other = chip_of(name, weights, 1, level), chip_of(name, scaled, 1, level)
    for layer, w in chip.items():
        torch.testing.assert_close(other[layer], factor * w, rtol=1e-4, atol=1e-5 * abs(factor) * w.abs().max().item())


@pytest.mark.parametrize("name", DEVICES)
def test_chips_differ_where_the_device_says_so(name):
    weights = {"w": torch.randn(50, 40)}
    for level in DEVICES[name].axis.levels:
        one, other = (chip_of(name, weights, seed, level)["w"] for seed in (1, 2))
        assert torch.equal(one, other) == (not DEVICES[name].is_random(level))


@pytest.mark.parametrize("name", DEVICES)
def test_layers_of_one_chip_have_luck_of_their_own(name):
    """The same layer twice: what the device adds to the one says nothing of what it adds to the other."""
    w = torch.rand(20_000, generator=torch.Generator().manual_seed(5)) * 0.2 + 0.4
    weights = {"a": torch.cat([w, torch.ones(1)]), "b": torch.cat([w, torch.ones(1)])}
    clean, chip = (chip_of(name, weights, 3, level) for level in (0.0, None))
    if not DEVICES[name].is_random(DEVICES[name].axis.train_level):
        assert torch.equal(chip["a"], chip["b"])
        return
    luck = torch.stack([chip[layer] / clean[layer] for layer in "ab"]).double()
    assert luck.std(1).min() > 0.01
    assert abs(torch.corrcoef(luck)[0, 1]) < 5 / 20_000**0.5


# The table of the project's design: what a sweep goes over, and where noise-aware methods train
AXES = {
    "rram": ("0 .1 .2 .3 .4 .5", 0.3),
    "gaussian": ("0 .02 .04 .06 .08 .1", 0.06),
    **dict.fromkeys(("rram1", "fefet2", "rram4", "fefet6"), ("0 .1 .2 .3 .4", 0.2)),
    "rram1t1r": ("0 .25 .5 .75 1 1.5", 0.75),
    "pcm": ("0 .5 1 2 3 4", 2.0),
    "rram_wan2022": ("0 .25 .5 .75 1 1.5", 0.75),
    "reram_cmo": ("0 1 2 4 8", 4.0),
    **dict.fromkeys(("siox_low", "siox_high"), ("0 .5 1 1.5 2", 1.0)),
    **dict.fromkeys(("tahfo2", "stuck"), ("0 .02 .05 .1 .15 .2", 0.1)),
    "d2d_lognormal": ("0 .1 .25 .5 .75 1", 0.5),
}


@pytest.mark.parametrize("name", AXES)
def test_axes_are_those_of_the_design(name):
    levels, train_level = AXES[name]
    axis = plan.device_of(name).axis
    assert axis.levels == tuple(map(float, levels.split())) and axis.train_level == train_level
