"""Which method when: of a group's rows those that nothing is better than, by cost, and what to make of them.

Tied for best are the rows of the first rank, by the leaderboard's own test (docs/statistics.md), but for those that
are worse by their own, uncorrected interval and by more than a little: Holm's correction keeps a ranking from claiming
too much, and where seeds are few it can't tell apart even what lies far apart. That is no reason to use the worse.
Cost is of training alone; what a row asks of the chips that use it is named beside it. Imports no torch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.columns import Column, to_best
from bench.cost import PASSES
from bench.groups import Group, Row
from bench.labels import MISSING, amount, number, p_value, spread
from bench.stats import ALPHA

ALIKE = 1.05  # costs that differ by no more than this factor are the same: what is easier to use is chosen
LITTLE = 0.2  # of the loss at which a chip fails: a point of accuracy
NAMED = 3  # methods of a sentence; more are counted
MEASURES = {
    "passes": "forward-backward passes",
    "forward_passes": "forward passes (older records don't count backward ones)",
    "samples": "training samples (older records don't count passes)",
}
FRACTIONS = {1 / 2: "half", 1 / 3: "a third", 1 / 4: "a quarter", 1 / 5: "a fifth", 1 / 10: "a tenth"}


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What to use of a group.

    `choices`: the rows tied for best, the cheapest first; `doubtful`: those of the first rank that seem worse all the
    same. `use`: one of the choices, None if none was ranked, or if the first shares no training seed with another.
    `measure`: the cost that they are sorted by (bench/cost.py). `nominal`: the row that costs are held against.
    """

    group: Group
    choices: tuple[Row, ...]
    doubtful: tuple[Row, ...]
    use: Row | None
    measure: str
    nominal: Row | None


def advise(group: Group) -> Advice:
    """The rows of the first rank, by what their training took with all that it rests on; of those that cost the same
    what asks the least of a chip in use, then the best score.
    """
    done = [row for row in group.rows if row.score is not None]
    ranked = _ranked(group)
    first = min((row.rank or 0 for row in ranked), default=0)
    compared = [row for row in ranked if row is ranked[0] or _paired(row, ranked[0])]
    known = [m for m in PASSES if all(None not in (row.cost[m], row.cost[f"total_{m}"]) for row in done)]
    measure = known[0] if known else "samples"
    tied = [row for row in compared if row.rank == first] if len(compared) > 1 or len(ranked) == 1 else []
    doubtful = [row for row in tied if row is not ranked[0] and _seems_worse(row, group)]
    best = [row for row in tied if row not in doubtful]
    cheapest = min((_total(row, measure) for row in best), default=0.0)
    alike = [row for row in best if _total(row, measure) <= max(ALIKE * cheapest, cheapest)]
    return Advice(
        group=group,
        choices=tuple(sorted(best, key=lambda row: _total(row, measure))),
        doubtful=tuple(doubtful),
        use=min(alike, key=lambda row: (_cells(row, group), row.adapted_on or 0), default=None),
        measure=measure,
        nominal=next((row for row in done if row.label.split(" ")[0] == "nominal"), None),
    )


def _ranked(group: Group) -> list[Row]:
    return [row for row in group.rows if row.rank is not None]


def _common(row: Row, other: Row) -> list[int]:
    """Training seeds that both have."""
    return sorted({*row.seeds} & {*other.seeds})


def _paired(row: Row, other: Row) -> bool:
    """Were they compared? Not without a training seed in common."""
    return bool(_common(row, other)) and not (row.to_best is not None and math.isnan(row.to_best.mean))


def _seems_worse(row: Row, group: Group) -> bool:
    """Is it worse than the first by its own interval, before the correction for many, and by more than a little?"""
    if (found := row.to_best) is None or abs(found.mean) <= LITTLE * group.yield_loss:
        return False
    return found.high < 0 if group.higher_is_better else found.low > 0


def _total(row: Row, measure: str) -> float:
    return row.cost[f"total_{measure}"] or 0.0


def _cells(row: Row, group: Group) -> float:
    """Crossbar weights / the fewest of the group's rows; 1 for older records, which don't say."""
    known = [other.analog_weights for other in group.rows if other.analog_weights]
    return row.analog_weights / min(known) if row.analog_weights else 1.0


def _named(row: Row, group: Group) -> str:
    """Its label, with what it asks of a chip in use that others don't: 'committee (5 times the cells)'."""
    asks = []
    if (cells := _cells(row, group)) > 1:
        asks.append(f"{cells:.3g} times the cells")
    if row.adapted_on:
        asks.append(f"each chip adapts to {row.adapted_on:,.0f} samples first")
    return f"{row.label} ({', '.join(asks)})" if asks else row.label


def sentences(advice: Advice) -> list[str]:
    """What to use, how sure that is, and what was left out: a line each."""
    use, ranked = advice.use, _ranked(advice.group)
    if not ranked:
        return ["nothing to advise: no method here has finished with chips that can be compared"]
    unranked = [row.label for row in advice.group.rows if row.rank is None]
    left_out = [f"not judged, since they failed or have one chip: {_listed(unranked)}"] if unranked else []
    if use is None:
        first, *others = (row.label for row in ranked)
        alone = f"{first}, which has the best score, and {_listed(others)}"
        return [f"not comparable: no training seed in common: {alone}; run them with the same --seed", *left_out]
    if len(ranked) == 1:
        return [f"only {use.label} has been run here: there is nothing to compare it with", *left_out]
    apart = [row.label for row in ranked if row is not use and row not in _judged(advice, use)]
    if apart:
        from_ = _listed(list(dict.fromkeys((use.label, ranked[0].label))))
        left_out.insert(0, f"not comparable: no training seed in common with {from_}: {_listed(apart)}")
    if advice.doubtful:
        more = advice.group.difference(f"{LITTLE * advice.group.yield_loss:g}")
        few = f"of the first rank, but worse by more than {more} and by their own intervals, so not advised"
        left_out.insert(0, f"{few}: {_listed([row.label for row in advice.doubtful])}")
    return [_use(advice, use), _difference(advice, use), _seeds(advice, use), *left_out]


def _judged(advice: Advice, use: Row) -> list[Row]:
    """The other rows that can be held against both the one to use and the first."""
    top, *_ = ranked = _ranked(advice.group)
    held = [row for row in ranked if row is not use and _common(row, use)]
    return [row for row in held if row is top or _paired(row, top)]


def _use(advice: Advice, use: Row) -> str:
    judged, group = _judged(advice, use), advice.group
    tied = [row for row in advice.choices if row in judged]
    ratio = None if advice.nominal in (None, use) else relative(use, advice, "total_")
    cost = "" if ratio is None else f"{_times(ratio)} nominal's"
    if tied:
        same = _compared([_total(use, advice.measure) / (_total(row, advice.measure) or 1.0) for row in tied])
        with_ = _listed([_named(row, group) for row in tied])
        return f"use {_named(use, group)}: tied with {with_}, {same}" + (cost and f" ({cost})")
    others = len(judged)
    worse = len(_worse(advice))
    words = "the other method" if others == 1 else f"each of the {others} others"
    if worse < others:  # ties are not transitive
        words = f"{worse} of the {others} others, and none is better"
    return f"use {_named(use, group)}: better than {words}" + (cost and f"; it costs {cost}")


def _worse(advice: Advice) -> list[Row]:
    """The rows that the first is significantly better than."""
    group = advice.group
    found = [row for row in group.rows if row.to_best is not None and row.to_best.p <= ALPHA]
    return [row for row in found if row.to_best and (row.to_best.mean < 0) == group.higher_is_better]


def _difference(advice: Advice, use: Row) -> str:
    """How far apart, from the paired differences to the first row."""
    top = advice.group.rows[0]
    if use is not top and use.to_best is not None:
        apart = f"{_apart(advice, use)}, p {p_value(use.to_best.p)}"
        return f"how sure: {top.label} has the best score, {use.label} is {apart}; a tie is no proof of equality"
    if len(advice.choices) > 1:
        return f"how sure: none has a better score; the tied ones differ from it by p above {ALPHA:g}"
    if not (worse := _worse(advice)):
        if advice.doubtful:
            return "how sure: no other is told from it once p is corrected for so many; their own intervals tell some"
        return "how sure: not at all; no other can be told from it on the training seeds that both have"
    next_ = worse[0]
    apart = _apart(advice, next_)
    cost = _compared([_total(next_, advice.measure) / (_total(use, advice.measure) or 1.0)])
    p = max(row.to_best.p for row in worse if row.to_best is not None)
    each = f"p {p_value(p)}" if p < 0.001 or len(worse) == 1 else f"p at most {p_value(p)}"
    return f"how sure: {each}, corrected by Holm; the next, {_named(next_, advice.group)}, is {apart} {cost}"


def _apart(advice: Advice, row: Row) -> str:
    """Of a row and the first: '1.11 ± 0.34 points worse'; where seeds differ, on which that is."""
    group, found, top = advice.group, row.to_best, advice.group.rows[0]
    assert found is not None
    half = found.high - found.mean
    better = (found.mean > 0) == group.higher_is_better
    size = group.difference(f"{number(abs(found.mean))} ± {number(half) if math.isfinite(half) else '?'}")
    seeds = [str(seed) for seed in _common(row, top)]
    said = f"{size} {'better' if better and found.mean else 'worse'}"
    if {*row.seeds} != {*top.seeds}:
        return f"{said} (on training seed{'s' if len(seeds) > 1 else ''} {_listed(seeds)}, which both have)"
    return f"{said} on the chips that both met" if better and found.mean else said  # the first has a score of more


def _seeds(advice: Advice, use: Row) -> str:
    numbers = "-".join(map(str, sorted(set(use.chips or ()))))
    chips = "1 chip" if numbers == "1" else f"{numbers} chips"
    shared = {row.label: len(_common(row, use)) for row in _judged(advice, use)}
    one = [label for label, n in shared.items() if n < 2]
    if len(one) < len(shared):
        fewest = min(n for n in shared.values() if n > 1)
        at_least = "" if fewest == len(use.seeds) else "at least "
        common = at_least and " in common"
        said = f"{at_least}{fewest} training seeds{common}, {chips} a level: training luck is in the intervals"
        return f"{said}, but not in those of {_listed(one)}: one training seed in common" if one else said
    seeds = f"one training seed ({use.seeds[0]})" if len(use.seeds) == 1 else "one training seed in common"
    return f"{seeds}, {chips} a level: another training run may order them otherwise; run more with --seed 0-4"


def _listed(labels: Sequence[str]) -> str:
    named, more = list(labels[:NAMED]), len(labels) - NAMED
    if more > 0:
        named.append(f"{more} more")
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"


def _compared(ratios: Sequence[float]) -> str:
    """'at a third of the cost', 'at 3.1 times the cost'; of several that differ, 'at 0.3 to 0.5 of their cost'."""
    low, high = min(ratios), max(ratios)
    if high > low * ALIKE:
        return f"at {low:.2g} to {high:.2g} of their cost"
    word = next((word for share, word in FRACTIONS.items() if 1 / ALIKE <= low / share <= ALIKE), f"{low:.2g}")
    if 1 / ALIKE <= low <= ALIKE:
        return "at the same cost"
    return f"at {word} of the cost" if low < 1 else f"at {low:.2g} times the cost"


def _times(ratio: float) -> str:
    return "the same as" if 1 / ALIKE <= ratio <= ALIKE else f"{ratio:.2g} times"


def relative(row: Row, advice: Advice, of: str) -> float | None:
    """Cost / the nominal row's with all that it rests on; `of`: '' for the run's own, 'total_' for all of it."""
    if advice.nominal is None or not (unit := _total(advice.nominal, advice.measure)):
        return None
    own = row.cost[of + advice.measure]
    return None if own is None else own / unit


def tied(advice: Advice) -> list[Column]:
    """The table of the methods that are tied for best."""

    def cost(of: str) -> Callable[[Row], str]:
        def show(row: Row) -> str:
            found = relative(row, advice, of)
            return MISSING if found is None else f"{number(found)}x"

        return show

    in_use: list[Column] = []
    if any(_cells(row, advice.group) > 1 for row in advice.choices):
        in_use.append(("cells", lambda row: f"{_cells(row, advice.group):.3g}x"))
    if any(row.adapted_on for row in advice.choices):
        in_use.append(("samples a chip", lambda row: f"{row.adapted_on:,.0f}" if row.adapted_on else MISSING))
    return [
        ("method", lambda row: row.label),
        ("score", lambda row: spread(row.score)),
        ("to best", to_best),
        ("p", lambda row: p_value(None if row.to_best is None else row.to_best.p)),
        ("own cost", cost("")),
        ("total cost", cost("total_")),
        ("total seconds", lambda row: amount(row.cost["total_seconds"])),
        *in_use,
        ("seeds", lambda row: ",".join(map(str, row.seeds))),
        ("chips", lambda row: "-".join(map(str, sorted(set(row.chips or ()))))),
    ]


def measured_by(advice: Advice) -> str:
    """What the table's costs are."""
    return f"cost: {MEASURES[advice.measure]} of training / nominal's; total: with all runs that it rests on"
