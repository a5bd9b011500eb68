"""Names and numbers as tables and plots print them: one line, short, and different where they differ."""

import hashlib
import json
import math
import re
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import limits, registry
from bench.stats import Difference, Interval

if TYPE_CHECKING:
    from bench.spec import Training

Record = Mapping[str, Any]
MISSING = "—"
MORE = "  # and "


def plain(text: object) -> str:
    """One printable line: control and direction characters, tabs and line ends become blanks."""
    kept = str(text)
    if not kept.isprintable():
        kept = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in kept)
    return " ".join(kept.split())


def short(text: str) -> str:
    """Text that a table or a figure has room for; what is cut still differs where the whole does."""
    if len(text) <= limits.LABEL:
        return text
    return f"{text[: limits.LABEL]}… {hashlib.sha256(text.encode()).hexdigest()[:8]}"


def file_name(text: str) -> str:
    """Text as a part of a file name: one that leads nowhere, is not hidden, and is no longer than file systems take."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text).lstrip(".")[: limits.FILE_NAME]


def title(training: "Training", test_device: str | None = None) -> str:
    """A training, or a cell, in a few words."""
    level = f" at {training.level:g}" if training.level > 0 else ""
    where = f"on {test_device or training.device}{level}"
    if test_device not in (None, training.device) and training.device != "ideal":
        where = f"trained on {training.device}{level}, on {test_device}"
    return f"{training.method} {where}, {training.task}, seed {training.seed}"


def network_label(training: Record) -> str:
    """Network name, with its width factor where that is not 1."""
    return plain(training["network"]) + ("" if training["width"] == 1 else f" x{training['width']:g}")


def version_label(version: str) -> str:
    """Nothing for a first version."""
    return "" if version == "1" else f" v{plain(version)}"


def time_text(time_s: float) -> str:
    """A time in its largest whole unit: 1 s, 1 h, 30 d, 1 y (365 d)."""
    for seconds, unit in ((31_536_000, "y"), (86_400, "d"), (3600, "h")):
        if time_s >= seconds and time_s % seconds == 0:
            return f"{time_s / seconds:g} {unit}"
    return f"{time_s:g} s"


def swept(evaluation: Record) -> tuple[str, list[float]]:
    """What an Evaluation sweeps, as its record's entries name it, and where, ascending: ("level", [0.0, 0.1])."""
    times = evaluation.get("times_s")
    return ("time_s", sorted(map(float, times))) if times else ("level", sorted(map(float, evaluation["levels"])))


def point_label(sweep: str, point: float) -> str:
    """A point of a sweep: '0.1', or '1 h'."""
    return time_text(point) if sweep == "time_s" else f"{point:g}"


def sweep_label(evaluation: Record) -> str:
    """What a heading says of the time: nothing, ' at 1 h', or ' over time at level 1'."""
    over_time = swept(evaluation)[0] == "time_s"
    return f" over time at level {evaluation['levels'][0]:g}" if over_time else time_label(evaluation["time_s"])


def time_label(time_s: float | None) -> str:
    """Time since programming, where the device has one."""
    return "" if time_s is None else f" at {time_text(time_s)}"


def settings_label(owner: Record) -> str:
    """Device settings of an Evaluation or a Training, where any differ from the device's own: ' stuck_on=0.01'."""
    return short("".join(f" {plain(k)}={plain(v)}" for k, v in sorted(owner.get("device_settings", {}).items())))


def all_settings(record: Record) -> dict[str, Any]:
    """The method's settings by name, the test device's as device.NAME, the training device's, if others, as
    train_device.NAME.
    """
    e = record["evaluation"]
    t = e["training"]
    found = dict(t["settings"])
    found |= {f"device.{k}": v for k, v in e.get("device_settings", {}).items()}
    if _trained_unlike(e):
        found |= {f"train_device.{k}": v for k, v in t.get("device_settings", {}).items()}
    return found


def trained_elsewhere(evaluation: Record) -> bool:
    """Did a method that uses a device train on another than the test device?"""
    return evaluation["training"]["device"] not in ("ideal", evaluation["device"])


def _trained_unlike(evaluation: Record) -> bool:
    """Did it train on another than the test device, or on other settings of it?"""
    t = evaluation["training"]
    other = t.get("device_settings", {}) != evaluation.get("device_settings", {})
    return trained_elsewhere(evaluation) or (t["device"] != "ideal" and other)


def variant(record: Record) -> dict[str, Any]:
    """What tells method variants apart, settings and seed aside: versions, where it trained, budget, recipe."""
    t = record["evaluation"]["training"]
    where = {f"train_{name}": t[name] for name in ("device", "device_version", "level", "time_s")}
    if settings := t.get("device_settings"):
        where["train_device_settings"] = settings
    return {name: t[name] for name in ("method", "method_version", "precision", "recipe")} | where | t["budget"]


def variant_key(record: Record) -> str:
    """Equal for the seeds of one method variant."""
    return json.dumps([variant(record), record["evaluation"]["training"]["settings"]], sort_keys=True)


def labels(variants: Sequence[Record]) -> list[str]:
    """Method and settings; where two would read the same, also whatever else differs between them."""
    bases = []
    for record in variants:
        t = record["evaluation"]["training"]
        settings = [f"{plain(k)}={plain(v)}" for k, v in sorted(t["settings"].items())]
        elsewhere = _trained_unlike(record["evaluation"])
        where = [f"(trained on {plain(t['device'])}{settings_label(t)})"] if elsewhere else []
        bases.append(" ".join([plain(t["method"]), *settings, *where]))
    result = []
    for base, record in zip(bases, variants, strict=True):
        twins = [variant(other) for other, name in zip(variants, bases, strict=True) if name == base]
        differing = [k for k, v in variant(record).items() if any(twin.get(k) != v for twin in twins)]
        extra = [f"{plain(k)}={plain(variant(record)[k])}" for k in differing]
        result.append(short(" ".join([base, *extra])))
    return result


def command(records: Sequence[Record]) -> str:
    """One line that makes all seeds again, where the commands differ in the seed alone.

    That some name the network which the others, of the same variant, have by default is no difference.
    """
    commands = [remake(r) for r in records]
    trainings = [r["evaluation"]["training"] for r in records]
    seeds = ",".join(str(training["seed"]) for training in trainings)
    joined = [re.sub(r"--seed[ =]\d+", f"--seed {seeds}", command) for command in commands]
    named = [f" --network {shlex.quote(plain(training['network']))}" for training in trainings]
    if len({f"{one} ".replace(f"{network} ", " ") for one, network in zip(joined, named, strict=True)}) == 1:
        return max(joined, key=len)
    return f"{commands[0]}{MORE}{len(commands) - 1} more like it"


def remake(record: Record) -> str:
    """The command that makes a record again; that of data that everybody has to name as their own says so."""
    return plain(record["command"]) + registry.asks(record["evaluation"]["training"]["task"])


def here(command: str, results: Path) -> str:
    """A command as it has to be given to write to `results`, where that is not the default."""
    if results == Path("results"):
        return command
    given, more, others = command.partition(MORE)  # options before the comment
    return f"{given} --results {shlex.quote(str(results))}{more}{others}"


def number(value: float | None, digits: int = 2) -> str:
    """Fixed digits for what lies under 10 000, else four significant ones; a dash for what is missing."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:.{digits}f}" if abs(value) < 10_000 else f"{value:.4g}"


def in_unit(what: object, unit: str, form: str = "{} in {}") -> str:
    """'accuracy in %', '20 dB' with the form '{} {}'; `what` alone where there is no unit."""
    return form.format(what, unit) if unit else str(what)


def amount(value: float | None) -> str:
    """A cost: thousands apart, below 100 with up to two digits after the point; a dash for what is not known."""
    if value is None:
        return MISSING
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}".rstrip("0").rstrip(".")


def percent(share: float | None) -> str:
    """A share of 0 to 1, with a digit more where it is nearly none or all; a dash for what is missing."""
    if share is None:
        return MISSING
    digits = 0 if share in (0, 1) or 0.01 <= share <= 0.99 else 1
    return f"{100 * share:.{digits}f}%"


def spread(found: Interval | None, joint: str = " ") -> str:
    """Mean ± half-width; the bare mean where chips can't differ, '± ?' where nobody knows how they do."""
    if found is None:
        return MISSING
    half = found.high - found.mean
    width = "" if half == 0 else f"{joint}± {'?' if math.isnan(half) else number(half)}"
    return number(found.mean) + width


def difference(found: Difference | None, joint: str = " ") -> str:
    """Mean ± half-width with its sign; '± ?' where nothing bounds it; a dash where nothing is paired."""
    if found is None or math.isnan(found.mean):
        return MISSING
    half = found.high - found.mean
    return f"{found.mean:+.2f}{joint}± {number(half) if math.isfinite(half) else '?'}"


def p_value(p: float | None) -> str:
    """Two significant digits, '<.001' below that; a dash for what is missing."""
    if p is None:
        return MISSING
    return "<.001" if p < 0.001 else f"{p:.2g}"


def escape(text: str) -> str:
    """Text that Markdown shows as it is, also in a table; one line."""
    text = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = "".join(f"\\{c}" if c in "\\`*[]|~" else c for c in text)
    text = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)  # not within a name: that is no emphasis
    # GitHub makes links of bare addresses, and a line may begin with what makes it a heading, a rule or a list.
    text = re.sub(r"(?i)(www)\.|:(?=//)|@", lambda m: f"{m[1]}\\." if m[1] else f"&#{ord(m[0])};", text)
    return re.sub(r"^(?:(\d+)([.)])(?= |$)|(?=[#+=-](?:[#= -]|$)))", lambda m: f"{m[1] or ''}\\{m[2] or ''}", text)


def code(text: str) -> str:
    """An inline code span, fenced by more backticks than it holds."""
    text = plain(text)
    fence = "`" * (max((len(run) for run in "".join(c if c == "`" else " " for c in text).split()), default=0) + 1)
    return f"{fence}{text}{fence}" if fence == "`" else f"{fence} {text} {fence}"
