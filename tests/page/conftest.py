"""Constructed records of every kind that the page shows, and the page that is made from them."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.keys import key_of
from bench.page import render
from bench.summary import summary

LEVELS = (0.0, 0.1, 0.2, 0.3)
TIMES = (1.0, 3600.0, 86_400.0)
WIDE = {"width": 1360, "height": 900}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
Open = Callable[..., Any]
STEEPNESS = {"nominal": 9.0, "noise_injection": 4.0, "mtrd": 3.0, "hwa": 3.1, "qat": 5.0}

BUDGET = {"epochs": 10, "finetune_epochs": 3, "batch_size": 128, "lr": 0.1, "train_samples": None}
COST = {"epochs": 3, "samples": 1000, "forward_passes": 1000, "backward_passes": 1000, "seconds": 60.0}
TEACHERS = {"teacher_epochs": 10, "teacher_samples": 500, "teacher_forward_passes": 500, "teacher_backward_passes": 500}
ENVIRONMENT = {
    "bench": "0.1.0",
    "commit": "abc",
    "created": "2030-01-02T00:00:00Z",
    "torch": "2.9",
    "hardware": "a core",
}

Record = dict[str, Any]


@pytest.fixture(scope="session")
def cell() -> Callable[..., Record]:
    """A record: a `method` on a `device`, by default accuracies that fall from 90 over four levels, 12 chips a level.

    `times`: swept at level 1. `trained_on`: another device. `power_w`: of the first level. Chips' luck is shared.
    `given`: texts of samples that it shows, each rightly taken for seven but at the last point.
    """
    return _cell


def _cell(
    method: str = "nominal",
    device: str = "rram",
    task: str = "cifar10",
    *,
    seed: int = 0,
    preset: str = "standard",
    network: str = "vgg8",
    levels: tuple[float, ...] = LEVELS,
    times: tuple[float, ...] | None = None,
    trained_on: str | None = None,
    settings: dict | None = None,
    device_settings: dict | None = None,
    power_w: float | None = None,
    chips: int = 12,
    metric: tuple[str, str, bool] = ("accuracy", "%", True),
    status: str = "done",
    given: Sequence[str] = (),
) -> Record:
    training = {
        "task": task,
        "task_version": "1",
        "network": network,
        "width": 1.0,
        "method": method,
        "method_version": "1",
        "settings": settings or {},
        "device": "ideal" if method == "nominal" else trained_on or device,
        "device_version": "1",
        "level": 0.0 if method == "nominal" else 0.2,
        "time_s": None,
        "budget": dict(BUDGET),
        "precision": "bf16",
        "recipe": "2",
        "seed": seed,
    }
    evaluation = {
        "training": training,
        "device": device,
        "device_version": "1",
        "time_s": None,
        "levels": [1.0] if times else list(levels),
        "chips": {"minimum": 10, "maximum": 20, "half_width": 0.5, "samples": None},
        "preset": preset,
        "test_samples": None,
    }
    if device_settings:
        evaluation["device_settings"] = device_settings
    if times:
        evaluation["times_s"] = list(times)
    key = key_of(evaluation)
    made = {
        "schema": 1,
        "key": key,
        "status": status,
        "error": None if status == "done" else "out of memory",
        "evaluation": evaluation,
        "training_key": "0" * 16,
        "task": {"name": task, "dataset": task.upper(), "metric": metric[0], "unit": metric[1]}
        | {"higher_is_better": metric[2], "yield_loss": 5.0},
        "axis": {"name": "time", "unit": "s"} if times else {"name": "sigma", "unit": "std of ln w"},
        "clean": 90.5 if status == "done" else None,
        "levels": [],
        "cost": COST | TEACHERS | {"teacher_seconds": 120.0, "trials": 0},
        "sweep_seconds": 10.0,
        "environment": dict(ENVIRONMENT),
        "command": f"bench run --method {method} --device {device} --task {task} --seed {seed} --preset {preset}",
    }
    if status == "done":
        made["levels"] = _levels(training, device, times or levels, bool(times), power_w, chips, higher=metric[2])
    if given:
        made["samples"] = [_sample(text, answers=1 + len(made["levels"])) for text in given]
    return made


def _sample(given: str, answers: int) -> Record:
    """All of them right but the last."""
    right = [i < answers - 1 for i in range(answers)]
    said = [f"{'seven' if ok else 'one'} {0.9 - 0.1 * i:.2f}" for i, ok in enumerate(right)]
    return {"given": given, "wanted": "seven", "right": right, "answers": said}


def _levels(
    training: Record,
    device: str,
    points: tuple[float, ...],
    over_time: bool,
    power_w: float | None,
    chips: int,
    *,
    higher: bool,
) -> list[Record]:
    """What the chips of a sweep measured: less at each point, and all the same at level 0."""
    method = training["method"]
    own = np.random.default_rng(sum(map(ord, method + device)) + 31 * training["seed"])
    luck = np.random.default_rng(7).standard_normal(chips)
    steep = STEEPNESS.get(method, 6.0) * (1 if higher else -1)
    made = []
    for i, point in enumerate(points):
        alone = point == 0 and not over_time
        values = 90 - steep * i + (0.5 * luck + 0.2 * own.standard_normal(chips)) * (not alone)
        level = {
            "level": 1.0 if over_time else point,
            "first_stage": 1 if alone else 10,
            "ekl": 0.01 * i,
            "samples": None,
        }
        level["chips"] = values.round(2).tolist()[: 1 if alone else chips]
        if over_time:
            level["time_s"] = point
        if power_w is not None:
            level["read_power_w"] = power_w * (1 + 0.1 * i)
        made.append(level)
    return made


@pytest.fixture(scope="session")
def older(cell: Callable[..., Record]) -> list[Record]:
    """Two rows on a device of cells, the first from before backward passes were counted and read power was measured."""
    records = [cell("nominal", "rram1t1r"), cell("mtrd", "rram1t1r", power_w=2e-3)]
    for name in ("backward_passes", "teacher_backward_passes"):
        del records[0]["cost"][name]
    return records


@pytest.fixture(scope="session")
def everything(cell: Callable[..., Record]) -> list[Record]:
    """Every kind: seeds, ties, variants, power, times with and without settings, crossed devices, lower is better."""
    methods = ("nominal", "noise_injection", "mtrd", "hwa", "qat")
    made = [cell(method, seed=seed) for method in methods for seed in (0, 1)]
    made += [cell(method, "rram1t1r", power_w=1e-3 * (i + 1)) for i, method in enumerate(methods[:3])]
    made += [cell("noise_injection", settings={"clip_w": 2.5}), cell("vant", "rram1t1r", status="failed")]
    made += [cell(method, "pcm", times=TIMES) for method in methods[:4]]
    made += [cell(method, "pcm", times=TIMES, device_settings={"drift_compensation": False}) for method in methods[:2]]
    made += [cell("noise_injection", tested, trained_on=trained, preset="standard*", levels=(0.2,))
             for trained in ("rram", "pcm", "stuck") for tested in ("rram", "pcm", "stuck")]  # fmt: skip
    made += [
        cell(
            method, task="language", network="lstm", metric=("perplexity", "perplexity", False), given=("… six", "… 7")
        )
        for method in methods[:3]
    ]
    made += [cell("mtrd", task="cifar10", preset="quick", network="vgg8_mtrd")]
    return made


@pytest.fixture(scope="session")
def made(everything: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """report.html of `everything`, with pictures of two records."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("report")
    (folder / "pictures").mkdir()
    for record in everything[:2]:
        picture = Image.linear_gradient("L").resize((480, 160))
        picture.save(folder / "pictures" / f"{record['key']}.png")
    path = folder / "report.html"
    path.write_text(render.page(everything, summary(everything), folder / "pictures"))
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The system's Chromium. Skips where there is none, or no Playwright."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install -e '.[test]'")
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        # Root has no sandbox to put a browser in.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Any, made: Path) -> Iterator[Open]:
    """Open the page; afterwards: it complained of nothing, and asked for nothing but itself."""
    troubles: list[str] = []
    contexts = []

    def follow(route: Any) -> None:
        if route.request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            troubles.append(f"request of {route.request.url}")
            route.abort()

    def open_(path: Path = made, *, address: str = "", viewport: dict = WIDE, scheme: str = "light") -> Any:
        context = browser.new_context(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
        contexts.append(context)
        context.route("**/*", follow)
        page = context.new_page()
        page.on("console", lambda said: troubles.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(path.as_uri() + address)
        page.wait_for_selector("#verdict > *")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert troubles == []


@pytest.fixture(scope="session")
def shots() -> Path:
    """The folder of screenshots, which CI keeps."""
    folder = Path(__file__).parents[2] / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def shot(shots: Path) -> Callable[[Any, str], None]:
    """Keep a screenshot of the whole page."""

    def keep(page: Any, name: str) -> None:
        page.add_style_tag(content="#board { content-visibility: visible }")
        page.screenshot(path=shots / f"{name}.png", full_page=True)

    return keep


@pytest.fixture
def see_everything() -> Callable[[Any], None]:
    """Scroll through, so that every chart is drawn, and come back."""

    def see(page: Any) -> None:
        for section in page.locator("main > section").all():
            section.scroll_into_view_if_needed()
            page.wait_for_timeout(60)
        page.evaluate("scrollTo(0, 0)")

    return see
