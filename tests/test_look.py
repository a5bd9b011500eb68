"""Colours that can be told apart, also by colour-blind readers, and looks that stay with their method."""

import itertools

import numpy as np
import pytest

from bench import registry
from bench.look import BASELINE, COLOURS, FIRST, looks
from tasks._masks import MARKS

# Linear RGB as dichromats see it: Machado, Oliveira and Fernandes (2009), severity 1.
SEEN = {
    "trichromat": np.eye(3),
    "protanope": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranope": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanope": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
GROUNDS = ("#FFFFFF", "#14181D")  # of the page, light and dark


def linear(colour: str) -> np.ndarray:
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    t = TO_XYZ @ np.clip(rgb, 0, 1) / [0.95047, 1, 1.08883]
    x, y, z = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(a: str, b: str) -> float:
    low, high = sorted(TO_XYZ[1] @ linear(c) for c in (a, b))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("eyes", SEEN)
@pytest.mark.parametrize("scheme", [0, 1])
def test_colours_differ_for_everybody(scheme, eyes):
    seen = [lab(np.array(SEEN[eyes]) @ linear(pair[scheme])) for pair in COLOURS]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 20


@pytest.mark.parametrize("eyes", SEEN)
@pytest.mark.parametrize("grey", [40, 110, 180, 235])
def test_marks_on_a_picture_differ_for_everybody(grey, eyes):
    """Each half, over the picture dimmed to a half, and from what isn't marked."""
    colours = ["#" + "".join(f"{grey // 2 + part // 2:02X}" for part in mark) for mark in (*MARKS, (0, 0, 0))]
    seen = [lab(np.array(SEEN[eyes]) @ linear(colour)) for colour in colours]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 25


@pytest.mark.parametrize("scheme", [0, 1])
def test_colours_stand_out_from_the_ground(scheme):
    assert min(contrast(pair[scheme], GROUNDS[scheme]) for pair in COLOURS) >= 3


def test_a_method_looks_the_same_whatever_is_beside_it():
    every = looks(list(registry.entries("methods")))
    assert all(looks([name])[name] == look for name, look in every.items())
    assert len({(look.light, look.marker) for look in every.values()}) == len(every)
    assert len({every[name].light for name in (BASELINE, *FIRST)}) == len(FIRST) + 1


def test_variants_of_a_method_share_its_colour_and_differ_in_line():
    found = looks(["mtrd", "mtrd alpha=0.5", "mtrd alpha=0.7", "hwa"])
    usual, tuned, other = (found[name] for name in ("mtrd", "mtrd alpha=0.5", "mtrd alpha=0.7"))
    assert usual.light == tuned.light != found["hwa"].light and usual.marker == tuned.marker
    assert len({usual.dash, tuned.dash, other.dash}) == 3
    assert (usual.filled, tuned.filled, other.filled) == (True, False, False)
    assert (usual.symbol, tuned.symbol) == ("diamond", "diamond-open") or tuned.symbol == f"{usual.symbol}-open"


def test_tuned_settings_look_tuned_where_the_method_as_it_comes_is_not_beside_them():
    (alone,) = looks(["mtrd alpha=0.5"]).values()
    assert not alone.filled and alone.dash != "solid"


def test_methods_of_other_packages_have_looks_of_their_own():
    names = [*registry.entries("methods"), *(f"plugged{i}" for i in range(30))]
    assert len({(look.light, look.marker) for look in looks(names).values()}) == len(names)
