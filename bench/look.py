"""How a method looks wherever it is drawn: its own colour and marker, in every figure and on the page."""

import zlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from bench import registry

# On white, on black. Found by a search for the greatest distances in CIELAB, also as seen with protanopia,
# deuteranopia and tritanopia, at 3:1 or more against the ground; a test keeps them so.
COLOURS = (
    ("#0C346A", "#2A8CEB"),
    ("#F25A0A", "#FD7032"),
    ("#6F8F58", "#61E993"),
    ("#BF76A6", "#F0ACFB"),
    ("#873B00", "#EDE75A"),
    ("#2590F5", "#A5D2C7"),
    ("#372C1E", "#AD7370"),
)
# Names of matplotlib and of Plotly. The baseline has the last colour to itself; the others step through six
# colours and eleven markers, which have no divisor in common: 66 pairs.
MARKERS = (
    ("o", "circle"),
    ("s", "square"),
    ("^", "triangle-up"),
    ("D", "diamond"),
    ("v", "triangle-down"),
    ("P", "cross"),
    ("X", "x"),
    ("<", "triangle-left"),
    (">", "triangle-right"),
    ("p", "pentagon"),
    ("h", "hexagon"),
)
# What most figures show: the baseline, and six that must not share a colour.
BASELINE = "nominal"
FIRST = ("noise_injection", "mtrd", "hwa", "qat", "neft_ovf", "committee")
# Of a method as it comes, and of its variants: tuned, of other settings, of a training level that is named.
SOLID = ("-", "solid")
DASHES: tuple[tuple[str | tuple[int, tuple[int, ...]], str], ...] = (
    ("--", "dash"),
    (":", "dot"),
    ("-.", "dashdot"),
    ((0, (9, 3)), "longdash"),
    ((0, (9, 3, 2, 3)), "longdashdot"),
)


class Look(NamedTuple):
    """Colours on white and on black; marker and line as matplotlib and as Plotly name them; is the marker filled?"""

    light: str
    dark: str
    marker: str
    symbol: str
    line: str | tuple[int, tuple[int, ...]]
    dash: str
    filled: bool


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """By label: colour and marker go with the method, its first word.

    A label that says more, such as tuned settings, is a variant: it has an open marker and a broken line of its own,
    also where the method as it comes is not beside it.
    """
    places = _places({label.split(" ")[0] for label in labels})
    variants: Counter[str] = Counter()
    found = {}
    for label in sorted(set(labels)):
        method = label.split(" ")[0]
        colours, marker = COLOURS[places[method] % (len(COLOURS) - 1)], MARKERS[places[method] % len(MARKERS)]
        if method == BASELINE:
            colours, marker = COLOURS[-1], MARKERS[0]
        is_variant = label != method
        line, dash = DASHES[variants[method] % len(DASHES)] if is_variant else SOLID
        symbol = marker[1] + "-open" * is_variant
        found[label] = Look(*colours, marker[0], symbol, line, dash, filled=not is_variant)
        variants[method] += is_variant
    return found


def _places(methods: set[str]) -> dict[str, int]:
    """Methods of the registry go by their order, after the first; others by their name, past those that are taken."""
    order = dict.fromkeys((*FIRST, *registry.entries("methods")))
    known = {name: i for i, name in enumerate(name for name in order if name != BASELINE)}
    pairs = (len(COLOURS) - 1) * len(MARKERS)
    found = {name: known.get(name, 0) for name in methods if name in known or name == BASELINE}
    for name in sorted(methods - found.keys()):
        free = (len(known) + zlib.crc32(name.encode()) + step for step in range(pairs))
        taken = {place % pairs for place in found.values()}
        found[name] = next((place for place in free if place % pairs not in taken), 0)
    return found
