"""What the page says of one record: every chip, settings, versions, hardware, keys."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.frame import measured
from bench.labels import Record, all_settings, plain, remake, settings_label, swept, time_text
from bench.provenance import told

MOST_CHIPS = 200  # of a level that are shown one by one; the numbers are those of all
LONGEST = 200  # letters of a text that a record brings along
MEASURES = ("mean", "ci_low", "ci_high", "std", "p5", "worst", "yield", "ekl", "chips")


class Kept:
    """Records as the page shows them; each once, the machines that they were made on and the samples that they show."""

    def __init__(self) -> None:
        self.environments: dict[str, dict[str, str]] = {}
        self.samples: dict[str, list[list[str]]] = {}

    def record(self, record: Record) -> dict[str, Any]:
        """One record, finished or failed."""
        e = record["evaluation"]
        t = e["training"]
        sweep, points = swept(e)
        levels = sorted(record["levels"], key=lambda level: level[sweep])
        stated = [measured(record, level) for level in levels]
        done = record["status"] == "done"
        return {
            "key": plain(record["key"]),
            "training_key": plain(record["training_key"]),
            "seed": t["seed"],
            "done": done,
            "command": remake(record),
            "about": _texts(_about(record)),
            "settings": _texts(all_settings(record)),
            "budget": _texts(t["budget"]),
            "versions": _texts(_versions(record)),
            "tested": self._environment(record["environment"]),
            "trained": self._environment(record.get("training_environment")),
            "points": points if done else [],
            "chips": [level["chips"][:MOST_CHIPS] for level in levels],
            "levels": [[row.get(name) for name in MEASURES] for row in stated],
            "clean": record["clean"],
            "further": _further(record, levels),
            "samples": self._samples(record),
        }

    def _environment(self, found: Any) -> str | None:
        """Its name in `environments`; without what differs from run to run."""
        if not isinstance(found, Mapping):
            return None
        lasting = _texts({k: v for k, v in found.items() if k not in ("created", "peak_memory_mib", "commit")})
        name = _named(lasting)
        self.environments[name] = lasting
        return name

    def _samples(self, record: Record) -> dict[str, Any] | None:
        """Which samples, their answers, the digital network's and each point's, and the places of wrong ones."""
        if not (found := record.get("samples")):
            return None
        shown = [[_text(sample["given"]), _text(sample["wanted"])] for sample in found]
        order = _ascending(record)
        self.samples[name := _named(shown)] = shown
        return {
            "of": name,
            "answers": [[_text(sample["answers"][i]) for i in order] for sample in found],
            "wrong": [[place for place, i in enumerate(order) if not sample["right"][i]] for sample in found],
        }


def _named(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def _ascending(record: Record) -> list[int]:
    """Places of the digital network's answer and of those at each point of the sweep, as the page has its points."""
    sweep, _ = swept(record["evaluation"])
    points = [level[sweep] for level in record["levels"]]
    return [0, *(1 + i for i in sorted(range(len(points)), key=points.__getitem__))]


def _about(record: Record) -> dict[str, Any]:
    e, environment = record["evaluation"], record["environment"]
    t, trained = e["training"], record.get("training_environment")
    time = "" if t["time_s"] is None else f", {time_text(t['time_s'])} after programming"
    alone = t["device"] == "ideal"
    elsewhere = f"{plain(t['device'])}{settings_label(t)} at level {t['level']:g}{time}"
    kept = "{:,} weights on crossbars".format(record["analog_weights"]) if "analog_weights" in record else ""
    network = f"{plain(t['network'])}, width {t['width']:g}"
    seconds = record.get("sweep_seconds")
    whole = trained if isinstance(trained, Mapping) else {}
    memory = max(
        (m.get("peak_memory_mib", 0) for m in (environment, whole) if _number(m.get("peak_memory_mib"))), default=0
    )
    found = {
        "data set": record["task"]["dataset"],
        "data": told(record["data"]) if "data" in record else "",
        "network": network + (f"; {kept}" if kept else ""),
        "trained on": "the digital network, no device" if alone else elsewhere,
        "precision": t["precision"],
        "chips a level": _chips(e["chips"]),
        "test samples": "all" if e["test_samples"] is None else e["test_samples"],
        "trained": _when(whole),
        "tested": _when(environment),
        "sweep": f"{seconds:,.0f} s" if _number(seconds) else "",
        "peak memory": f"{memory:,.0f} MiB" if memory else "",
        "found in training": ", ".join(f"{plain(k)} {v:.3g}" for k, v in record.get("found", {}).items()),
    }
    return {name: text for name, text in found.items() if text not in ("", None)}


def _when(environment: Mapping[str, Any]) -> str:
    """'2026-11-22, commit 63d180df89ba', as far as it is known."""
    created, commit = (plain(environment.get(name) or "") for name in ("created", "commit"))
    return ", ".join(part for part in (created[:10], f"commit {commit}" if commit else "") if part)


def _chips(policy: Mapping[str, Any]) -> str:
    low, high, half = (policy.get(name) for name in ("minimum", "maximum", "half_width"))
    if high in (None, low):
        return f"{low}"
    return f"{low} to {high}, as many as bring the interval to ± {half:g}" if _number(half) else f"{low} to {high}"


def _versions(record: Record) -> dict[str, Any]:
    e = record["evaluation"]
    names = ("task_version", "method_version", "recipe")
    found = {name.replace("_version", ""): e["training"][name] for name in names}
    return found | {"device": e["device_version"], "training device": e["training"]["device_version"]}


def _further(record: Record, levels: Sequence[Record]) -> dict[str, Any]:
    """Metrics beside the ranked one, by name: of the clean network, and the mean over chips at each level."""
    clean, found = record.get("clean_details", {}), {}
    for name, value in clean.items():
        means = [math.fsum(level["details"][name]) / max(len(level["details"][name]), 1) for level in levels]
        found[plain(name)] = {"clean": value if _number(value) else None, "means": means}
    return found


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _texts(found: Mapping[Any, Any]) -> dict[str, str]:
    """Names and values as one line each, whatever a record holds."""
    shown = {plain(k): v if isinstance(v, str) else json.dumps(v, default=str) for k, v in found.items()}
    return {name[:LONGEST]: _text(text) for name, text in shown.items() if text != "null"}


def _text(text: str) -> str:
    return plain(text)[:LONGEST]
