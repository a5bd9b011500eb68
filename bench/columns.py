"""What the leaderboard's tables say of a group, wherever they are shown: columns, notes, failures."""

from collections.abc import Callable

from bench import missing, stats
from bench.cost import COSTS
from bench.groups import Group, Row
from bench.labels import MISSING, amount, difference, in_unit, number, p_value, percent, point_label, spread

STATED = "95% intervals; Holm-corrected paired differences of the score; methods that they can't separate share a rank"

BEST = (
    "to best: difference of the score to the first row's, over the chips that both met, with its own 95% interval; p: "
    f"of that difference, corrected by Holm for all pairs of the table; {stats.ALPHA:g} or less separates two methods."
)

Column = tuple[str, Callable[[Row], str]]


def rank(row: Row) -> str:
    """The rank with its marks: = tied, † resting on one training seed."""
    if row.rank is None:
        return "failed" if not row.seeds else MISSING
    return f"{row.rank}{'=' if row.tied else ''}{'†' if row.conditional else ''}"


def to_best(row: Row, joint: str = " ") -> str:
    """The difference to the first row with its mark."""
    return difference(row.to_best, joint) + to_best_mark(row)


def to_best_mark(row: Row) -> str:
    """† of a difference that rests on one training seed."""
    return "†" if row.to_best is not None and row.to_best_seeds == 1 else ""


def tables(group: Group, joint: str) -> list[list[Column]]:
    """The group's tables: scores, tails, cost."""

    def at(point: float) -> Column:
        return point_label(group.sweep, point), lambda r: spread(r.points.get(point), joint)

    def cost(name: str) -> Column:
        in_words = missing.NOT_RECORDED.replace(" ", joint)
        return cost_name(name).replace(" ", joint), lambda r: in_words if _lacks(r, name) else amount(r.cost.get(name))

    top = f"{joint}at {point_label(group.sweep, group.points[-1])}"
    method: Column = ("method", lambda r: r.label)
    scores: list[Column] = [
        ("rank", rank),
        method,
        ("score", lambda r: spread(r.score, joint)),
        (f"to{joint}best", lambda r: to_best(r, joint)),
        ("p", lambda r: p_value(None if r.to_best is None else r.to_best.p)),
        ("clean", lambda r: number(r.clean)),
        *map(at, group.points),
    ]
    tails: list[Column] = [
        method,
        ("trained on", lambda r: r.trained_on),
        ("seeds", lambda r: ",".join(map(str, r.seeds)) or MISSING),
        ("chips", lambda r: "-".join(map(str, sorted(set(r.chips)))) if r.chips else MISSING),
        (f"p5{top}", lambda r: number(r.p5)),
        (f"worst{top}", lambda r: number(r.worst)),
        (f"yield{top}", lambda r: percent(r.yield_share)),
        (f"EKL{top}", lambda r: number(r.ekl, 4)),
    ]
    if any(row.read_power_w is not None for row in group.rows):
        tails.append((f"mW{top}", lambda r: power(r, group)))
    counted = any(row.cost.get("passes") is not None for row in group.rows)
    shown = [name for name in COSTS if counted or name not in ("passes", "total_passes")]
    costs = [method, *map(cost, shown)]
    if any(row.adapted_on for row in group.rows):
        costs.append((f"samples{joint}a{joint}chip", lambda r: f"{r.adapted_on:,.0f}" if r.adapted_on else MISSING))
    return [scores, tails, costs]


def _lacks(row: Row, name: str) -> bool:
    """Is it a cost that its records don't hold?"""
    return bool(row.seeds) and row.cost.get(name) is None


def power(row: Row, group: Group) -> str:
    """Read power in mW."""
    if row.read_power_w is None:
        return missing.NOT_RECORDED if missing.POWER in missing.of(row, group) else MISSING
    return f"{1e3 * row.read_power_w:.3g}"


def cost_name(name: str) -> str:
    """A cost as tables head it: 'own epochs', 'total epochs', 'tuning trials'."""
    if name == "trials":
        return "tuning trials"
    return ("" if name.startswith("total_") else "own ") + name.replace("_", " ")


def notes(group: Group) -> list[str]:
    """What a reader must know to read the numbers."""
    better = "higher" if group.higher_is_better else "lower"
    points = ", ".join(point_label(group.sweep, point) for point in group.points)
    loss = group.difference(f"{group.yield_loss:g}")
    tail = "chip" if group.tail_chips == 1 else f"{group.tail_chips} chips"
    metric = in_unit(group.metric, group.unit)
    lines = [f"{metric}, {better} is better; score: mean over {group.axis} at {points}; {STATED}."]
    if any(row.to_best for row in group.rows):
        lines.append(BEST)
    lines += [
        "clean: the digital network; EKL: how far chips' predictions are from their mean, in nats.",
        f"p5 and worst: of the first {tail}; yield: chips at most {loss} worse than the "
        "method's clean digital network.",
        "own: of the run's own training steps; total: with all other runs that it rests on, such as teachers and the "
        "nominal one that it starts from, each counted once; samples: training samples seen; passes: forward-backward "
        "passes of a sample, a forward pass alone being a third; tuning trials: those that chose its settings.",
    ]
    if any(row.read_power_w is not None for row in group.rows):
        lines.append("mW: power of the cells while every layer is read, mean over samples and reads.")
    if any(row.adapted_on for row in group.rows):
        lines.append("samples a chip: training samples, without labels, that a chip adapts to before it is measured.")
    lines += missing.notes(group)
    conditional = sorted({seed for row in group.rows if row.conditional for seed in row.seeds})
    if conditional:
        seeds = f"seed {conditional[0]}" if len(conditional) == 1 else "the one seed that two methods share"
        lines.append(f"† rank or difference conditional on {seeds}: training luck is not in the interval.")
    if not group.random and any(row.tied and row.conditional for row in group.rows):
        lines.append(
            "Chips differ at no level: one seed leaves nothing to tell methods apart by, so they share a rank."
        )
    return lines


def failures(group: Group) -> list[str]:
    """A line a failed cell."""
    return [
        f"{row.label}, seed {seed}: failed: {error} ({key})" for row in group.rows for seed, error, key in row.failed
    ]
