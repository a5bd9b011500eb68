"""What the leaderboard holds: groups of method variants that may be compared. Numbers and names only."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench import limits
from bench.labels import in_unit, point_label
from bench.stats import Difference, Interval


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method variant in a group, over its seeds.

    `points`: by level, or by time in s where time is swept. Without `points` and `score` if all seeds failed.
    `p5`, `worst` (first-stage chips), `yield_share`, `ekl` and `read_power_w` (devices of cells) belong to the
    group's last point, each the mean over seeds; `cost` (bench/cost.py) too, {} if all failed.
    `adapted_on`: samples that each chip runs before it is measured, None if it doesn't adapt. `analog_weights`: of the
    deployed network, on crossbars; None of older records.
    `read_powers`: by point, W, mean over seeds; where they are known and above 0.
    `failed`: (seed, error, key); `keys`: of the records that `command` remakes.
    `rank` None: not ranked, since it failed or a measure of spread is missing. `to_best`: difference of the score to
    that of the group's first row, paired by chip, with Holm's p over all pairs of the group; None in the first row.
    `to_best_seeds`: training seeds behind it. `conditional`: the rank rests on one training seed, as the row has one,
    shares no more with any other, or shares no more with one that is significantly better and so counts.
    """

    label: str
    trained_on: str
    seeds: tuple[int, ...]
    failed: tuple[tuple[int, str, str], ...]
    command: str
    keys: tuple[str, ...]
    points: Mapping[float, Interval]
    clean: float | None = None
    score: Interval | None = None
    p5: float | None = None
    worst: float | None = None
    yield_share: float | None = None
    ekl: float | None = None
    read_power_w: float | None = None
    read_powers: Mapping[float, float] = field(default_factory=dict)
    chips: tuple[int, int] | None = None
    adapted_on: float | None = None
    analog_weights: float | None = None
    cost: Mapping[str, float | None]
    rank: int | None = None
    to_best: Difference | None = None
    to_best_seeds: int = 0
    tied: bool = False
    conditional: bool = False


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows that may be compared: same preset, task, network, device and settings, sweep, test samples.

    `sweep`: level, or time_s; the score averages its `points`; runs of an untouched preset have the device's own.
    `elsewhere`: were all trained on other devices than the test device? `device`: with `settings` and what the
    heading says of time. `random`: can chips differ at any point? `tail_chips`: number of chips behind p5 and worst.
    `tied`: best and worst row, by position, of each run of scores no two of which can be separated.
    `data`: of which data they are, as far as records say; `apart`: are there records like these, but of other data?
    """

    preset: str
    task: str
    network: str
    device: str
    settings: str
    elsewhere: bool
    test_samples: int | None
    metric: str
    unit: str
    higher_is_better: bool
    yield_loss: float
    axis: str
    sweep: str
    points: tuple[float, ...]
    random: bool
    tail_chips: int
    rows: tuple[Row, ...]
    tied: tuple[tuple[int, int], ...] = ()
    data: str = ""
    apart: bool = False

    @property
    def title(self) -> str:
        """A heading."""
        subset = f" · {self.test_samples} test samples" if self.test_samples is not None else ""
        elsewhere = ", trained on other devices" if self.elsewhere else ""
        points = ", ".join(point_label(self.sweep, point) for point in self.points)
        points = f" · {'times' if self.over_time else 'levels'} {points}" if self._touched else ""
        data = f" · data {self.data}" if self.apart else ""
        return f"{self.preset} · {self.task} · {self.network} · {self.device}{elsewhere}{subset}{points}{data}"

    def difference(self, size: str) -> str:
        """A size of a difference in the metric, with its unit: '5 points', '1.2 dB'."""
        points = "point" if size == "1" else "points"
        return in_unit(size, points if self.unit == "%" else self.unit, "{} {}")

    @property
    def slug(self) -> str:
        """A file name without suffix: <preset>-<task>-<network>-<device>."""
        parts = [self.preset, self.task, self.network, self.device]
        if self.elsewhere:
            parts.append("trained-elsewhere")
        if self.test_samples is not None:
            parts.append(f"n{self.test_samples}")
        if self.apart:
            parts.append(f"data-{self.data}")
        if self._touched:
            # Short, however many points there are.
            parts.append(hashlib.sha256(repr(self.points).encode()).hexdigest()[:8])
        text = "-".join(parts)
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", text).lstrip(".")
        if len(name) > limits.FILE_NAME or re.search(r"[^A-Za-z0-9_.*=,+: -]", text):
            # Cut, or with letters that no name of ours has: another group may come to the same.
            name = f"{name[: limits.FILE_NAME]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        return name

    @property
    def over_time(self) -> bool:
        """Is it a sweep of times?"""
        return self.sweep == "time_s"

    @property
    def has_curve(self) -> bool:
        """Is there anything to plot?"""
        return len(self.points) > 1 and any(row.points for row in self.rows)

    @property
    def has_power(self) -> bool:
        """Is the read power of two rows known, so that it can be compared?"""
        return sum(bool(row.read_powers) for row in self.rows) > 1

    @property
    def has_turned_error(self) -> bool:
        """Is the error what is missing to 100 %? Otherwise it is the metric itself."""
        return self.higher_is_better and self.unit == "%"

    @property
    def error(self) -> str:
        """Name of the error, with its unit, for an axis."""
        return f"{'100 - ' if self.has_turned_error else ''}{in_unit(self.metric, self.unit, '{} ({})')}"

    def as_error(self, found: Interval) -> Interval:
        """An interval of the metric, as one of the error."""
        mean, low, high = found
        return Interval(100 - mean, 100 - high, 100 - low) if self.has_turned_error else found

    @property
    def power_slug(self) -> str:
        """File name, without suffix, of the plot of error versus power."""
        return f"{self.slug}-power"

    @property
    def has_ties(self) -> bool:
        """Are there enough ranked rows to draw which of them can be told apart?"""
        return sum(row.rank is not None and row.score is not None for row in self.rows) > 2

    @property
    def ties_slug(self) -> str:
        """File name, without suffix, of the plot of what can be told apart."""
        return f"{self.slug}-ties"

    @property
    def _touched(self) -> bool:
        """Does the preset carry a star? Then groups may differ in nothing but their points."""
        return self.preset.endswith("*")


def side_by_side(groups: Sequence[Group]) -> list[Group]:
    """Sweeps of time that differ in device settings alone, such as with and without compensation, to be plotted as one.

    Rows name their settings, and their ranks are those within their own settings.
    """
    return [
        replace(
            base,
            device=f"{base.device}, settings side by side",
            rows=tuple(replace(row, label=row.label + g.settings) for g in members for row in g.rows),
        )
        for base, members in families(groups)
    ]


def families(groups: Sequence[Group]) -> list[tuple[Group, list[Group]]]:
    """(what they have in common, without rows; the groups) of sweeps of time that differ in device settings alone."""
    found = defaultdict(list)
    for group in groups:
        if group.over_time and group.has_curve:
            base = group.device.replace(group.settings, "", 1)
            alike = replace(group, device=base, settings="", random=False, tail_chips=0, rows=(), tied=(), data="")
            found[alike].append(group)
    # Not of several data: no heading would say which line is of which
    one = {base: members for base, members in found.items() if len({group.data for group in members} - {""}) < 2}
    return [(base, members) for base, members in one.items() if len(members) > 1]
