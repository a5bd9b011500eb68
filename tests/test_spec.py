"""Trainings and Evaluations: what they are called, when two of them are one, and what a request turns into."""

import dataclasses
import json
import re
from typing import Any, Optional

import pytest

from bench import plan, presets, registry, settings
from bench import request as words_
from bench.errors import BenchError
from bench.keys import canonical, key_of, seed_of
from bench.spec import ChipPolicy, Evaluation, Training
from bench.sweep import usual_times
from devices._base import DeviceError, PeripherySettings, SettingError, setting
from devices.rram import Rram
from methods._base import Budget, MethodError

TRAINING = Training(
    task="mnist",
    task_version="1",
    network="mlp",
    width=0.5,
    method="noise_injection",
    method_version="1",
    settings={"clip_w": 2.0},
    device="rram",
    device_version="1",
    level=0.3,
    time_s=None,
    budget=Budget(
        epochs=5,
        finetune_epochs=2,
        batch_size=256,
        lr=0.1,
        finetune_lr=0.02,
        weight_decay=5e-4,
        momentum=0.9,
        anneal="linear",
        train_samples=None,
    ),
    precision="fp32",
    seed=0,
    recipe="1",
)
EVALUATION = Evaluation(
    training=TRAINING,
    device="rram",
    device_version="1",
    time_s=None,
    levels=(0.0, 0.1),
    chips=ChipPolicy(minimum=10, maximum=20, half_width=0.5),
    preset="quick*",
    test_samples=None,
)


def request(**asked: Any) -> plan.Request:
    """What a user asked for; small and on MNIST unless told otherwise."""
    usual: dict[str, Any] = {
        "methods": ("nominal",),
        "devices": ("rram",),
        "tasks": ("mnist",),
        "seeds": (0,),
        "preset": "smoke",
        "precision": "fp32",
        "network": "mlp",
    }
    return plan.Request(**usual | asked)


def only(**asked: Any) -> Evaluation:
    """The one cell of a request."""
    (cell,) = plan.cells(request(**asked))
    return cell.evaluation


# Keys


def test_canonical_json_does_not_depend_on_the_order_of_fields():
    assert canonical({"b": 1, "a": [0.1, None, True]}) == '{"a":[0.1,null,true],"b":1}'
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_without_a_json_form_are_refused(value):
    with pytest.raises(ValueError):
        canonical({"lr": value})


def test_keys_are_those_of_the_first_release():
    """If this fails, every checkpoint and record made so far is lost to its owner: change it knowingly."""
    assert TRAINING.key == "8e41787b7d7312cc"
    assert EVALUATION.key == "04edf74fe5242d64"


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Training)])
def test_every_field_of_a_training_is_in_its_key(name):
    budget = dataclasses.replace(TRAINING.budget, lr=0.2)
    others = {"settings": {}, "device_settings": {"a": 1}, "budget": budget, "time_s": 1.0}
    other = others.get(name, getattr(TRAINING, name))
    if other is getattr(TRAINING, name):
        other = other + 1 if isinstance(other, int | float) else other + "x"
    assert dataclasses.replace(TRAINING, **{name: other}).key != TRAINING.key


def test_the_optimizer_is_in_the_key_where_it_is_another():
    other = dataclasses.replace(TRAINING, budget=dataclasses.replace(TRAINING.budget, optimizer="adamw"))
    assert "optimizer" not in TRAINING.as_dict()["budget"] and other.as_dict()["budget"]["optimizer"] == "adamw"
    assert other.key != TRAINING.key and Training.from_dict(other.as_dict()) == other


def test_an_evaluation_is_named_by_its_training_too():
    moved = dataclasses.replace(EVALUATION, training=dataclasses.replace(TRAINING, seed=1))
    assert moved.key != EVALUATION.key


@pytest.mark.parametrize("value", [TRAINING, EVALUATION])
def test_from_dict_is_the_inverse_of_as_dict_through_json(value):
    again = type(value).from_dict(json.loads(json.dumps(value.as_dict())))
    assert again == value
    assert again.key == value.key


@pytest.mark.parametrize("cls, value", [(Training, TRAINING), (Evaluation, EVALUATION)])
def test_unknown_and_missing_fields_are_refused(cls, value):
    whole = value.as_dict()
    with pytest.raises(BenchError, match="colour"):
        cls.from_dict(whole | {"colour": "red"})
    for name in ("seed", "recipe") if cls is Training else ("preset", "training"):
        with pytest.raises(BenchError):
            cls.from_dict({k: v for k, v in whole.items() if k != name})


def test_seeds_differ_and_stay_the_same():
    seeds = {seed_of("test chip", i) for i in range(100)} | {seed_of("validation chip", i) for i in range(100)}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of("ab", "c") != seed_of("a", "bc")
    assert seed_of("test chip", 0) == 2_633_659_195_283_568_940


@pytest.mark.parametrize("bad", [(0, 5, None), (5, 4, None), (1, 5, 0.5), (5, 9, 0.0), (5, 9, -1.0)])
def test_chip_policies_that_make_no_sense_are_refused(bad):
    minimum, maximum, half_width = bad
    with pytest.raises(BenchError):
        ChipPolicy(minimum=minimum, maximum=maximum, half_width=half_width)


# Sharing


def test_a_nominal_network_is_trained_once_for_all_devices():
    cells = [only(devices=(device,)) for device in ("ideal", "rram", "rram1t1r")]
    assert len({cell.training.key for cell in cells}) == 1
    assert len({cell.key for cell in cells}) == 3


def test_the_nominal_network_does_not_depend_on_what_it_makes_no_use_of():
    assert only().training == only(finetune_epochs=7).training == only(level=0.1).training
    assert only().training != only(epochs=7).training


def test_teachers_of_mtrd_are_noise_injection_cells():
    for device in ("rram", "rram1t1r"):
        student = only(methods=("mtrd",), devices=(device,)).training
        for level in plan.device_of(device).axis.levels[1:]:
            teacher = plan.variant(student, "noise_injection", level, {})
            assert teacher == only(methods=("noise_injection",), devices=(device,), level=level).training
        assert plan.variant(student, "nominal", None, {}) == only(devices=(device,)).training


def test_settings_that_equal_the_default_name_the_same_training():
    plain = only(methods=("mtrd",))
    assert only(methods=("mtrd",), settings={"alpha": ".7", "weighting": "rank"}) == plain
    other = only(methods=("mtrd",), settings={"alpha": ".5"})
    assert other.training.settings == {"alpha": 0.5}
    assert other.key != plain.key


def test_a_setting_may_be_meant_for_one_method():
    cells = plan.cells(request(methods=("nominal", "mtrd"), settings={"mtrd.alpha": ".5"}))
    assert [cell.evaluation.training.settings for cell in cells] == [{}, {"alpha": 0.5}]


def test_a_cell_that_is_asked_for_twice_is_run_once():
    cells = plan.cells(request(methods=("nominal", "mtrd"), seeds=(0, 1)))
    assert len(cells) == len({cell.evaluation.key for cell in cells}) == 4
    assert len(plan.cells(request(devices=("rram", "rram")))) == 1


# Presets


@pytest.mark.parametrize(
    "touched",
    [
        {"epochs": 2},
        {"finetune_epochs": 0},
        {"batch_size": 10},
        {"lr": 0.2},
        {"train_samples": 100},
        {"test_samples": 100},
        {"width": 1.0},
        {"chips": 4},
        {"half_width": 1.0},
    ],
)
def test_a_preset_that_was_touched_carries_a_star(touched):
    assert only(network=None).preset == "smoke"
    assert only(network=None, **touched).preset == "smoke*"
    assert only(network="lenet").preset == "smoke*"
    assert only(network=None, levels=(0.0, 0.1)).preset == "smoke*", "its score is over other levels"


@pytest.mark.parametrize("device", registry.entries("devices"))
def test_without_a_star_the_levels_are_the_devices_own(device):
    own = plan.device_of(device).axis.levels
    for levels in (None, own, own[::-1], own[:1], (*own, *own), (*own, plan.device_of(device).axis.maximum), (0.0,)):
        cell = only(devices=(device,), network=None, levels=levels)
        assert cell.preset == ("smoke" if set(cell.levels) == set(own) else "smoke*")


def test_saying_what_the_preset_says_is_no_change():
    smoke, usual = presets.get("smoke"), only(network=None)
    said = {
        "width": smoke.width,
        "epochs": smoke.budget.epochs,
        "lr": smoke.budget.lr,
        "chips": smoke.chips.minimum,
        "levels": plan.device_of("rram").axis.levels,
    }
    assert only(network="mlp", **said) == usual


@pytest.mark.parametrize("task, network", [("mnist", "mlp"), ("fashion_mnist", "lenet"), ("cifar10", "vgg8_mtrd")])
def test_each_task_has_its_own_network(task, network):
    """The published leaderboards are of these: named or not, they are the preset's, without a star."""
    for named in (None, network):
        made = only(tasks=(task,), preset="standard", network=named)
        assert (made.training.network, made.preset) == (network, "standard")


def test_versions_of_the_methods_that_a_method_rests_on_are_in_its_key(monkeypatch):
    before = {name: only(methods=(name,)).training.key for name in ("nominal", "noise_injection", "mtrd")}
    assert only(methods=("mtrd",)).training.method_version == "1+noise_injection=1+nominal=1"
    monkeypatch.setattr(registry.get("methods", "noise_injection"), "version", "2")
    after = {name: only(methods=(name,)).training.key for name in before}
    assert {name for name in before if before[name] != after[name]} == {"noise_injection", "mtrd"}
    monkeypatch.setattr(registry.get("methods", "nominal"), "version", "2")
    last = {name: only(methods=(name,)).training.key for name in before}
    assert all(last[name] != after[name] for name in before)


def test_a_method_may_only_ask_for_methods_that_it_names():
    mtrd = only(methods=("mtrd",)).training
    assert plan.variant(mtrd, "noise_injection", 0.1, {}).method_version == "1+nominal=1"
    with pytest.raises(MethodError, match="nominal asks for a run of mtrd, which its rests_on does not name"):
        plan.variant(only(methods=("nominal",)).training, "mtrd", None, {})


def test_what_a_preset_says_reaches_the_cell():
    smoke = presets.get("smoke")
    evaluation = only(network=None)
    assert evaluation.training.width == smoke.width
    assert evaluation.training.budget == dataclasses.replace(smoke.budget, finetune_epochs=0, finetune_lr=0.0)
    assert evaluation.chips == smoke.chips
    assert evaluation.test_samples == smoke.test_samples
    assert only(methods=("noise_injection",)).training.level == plan.device_of("rram").axis.train_level


def test_chips_are_fixed_or_adaptive():
    assert only(chips=7).chips == ChipPolicy(minimum=7, maximum=7, half_width=None)
    assert only(half_width=0.5).chips == ChipPolicy(minimum=10, maximum=200, half_width=0.5)
    assert only(chips=30, half_width=0.5).chips == ChipPolicy(minimum=10, maximum=30, half_width=0.5)


# Device settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coating(PeripherySettings):
    """Settings that a test gives to rram."""

    oxide: str = setting("hafnia", "what the cell is made of", choices=("hafnia", "titania"))
    stuck: float = setting(0.0, "share of cells", low=0.0, high=1.0)


@pytest.fixture
def coated(monkeypatch):
    """rram has settings."""
    monkeypatch.setattr(Rram, "Settings", Coating)


def test_without_device_settings_a_value_has_the_form_of_the_first_release():
    for value in (TRAINING, EVALUATION):
        assert "device_settings" not in canonical(value.as_dict()) and "times_s" not in canonical(value.as_dict())


def test_device_settings_are_in_both_keys_and_come_back_from_json(coated):
    plain = only(methods=("noise_injection",))
    set_ = only(methods=("noise_injection",), device_settings={"stuck": ".25", "oxide": "titania"})
    assert set_.device_settings == set_.training.device_settings == {"stuck": 0.25, "oxide": "titania"}
    assert set_.key != plain.key and set_.training.key != plain.training.key
    again = Evaluation.from_dict(json.loads(json.dumps(set_.as_dict())))
    assert again == set_ and again.key == set_.key


def test_device_settings_that_equal_the_default_name_the_same_cell(coated):
    plain = only(methods=("noise_injection",))
    assert only(methods=("noise_injection",), device_settings={"stuck": "0", "oxide": "hafnia"}) == plain
    assert plain.key == only(methods=("noise_injection",)).key


def test_the_nominal_network_does_not_depend_on_device_settings(coated):
    plain, set_ = only(), only(device_settings={"stuck": ".25"})
    assert set_.training == plain.training
    assert set_.device_settings == {"stuck": 0.25}


def test_teachers_keep_the_device_settings(coated):
    student = only(methods=("mtrd",), device_settings={"stuck": ".25"}).training
    assert plan.variant(student, "noise_injection", 0.1, {}).device_settings == {"stuck": 0.25}
    assert plan.variant(student, "nominal", None, {}).device_settings == {}


@pytest.mark.parametrize(
    "devices, given, message",
    [
        (("rram",), {"stock": "1"}, "device rram has no setting 'stock'; did you mean 'stuck'"),
        (("rram", "ideal"), {"stuck": ".1"}, "device ideal has no setting 'stuck'; there are: dac_bits, "),
        (("pcm", "gaussian"), {"stuck_on": ".1"}, "device gaussian has no setting 'stuck_on': it varies weights"),
        (("tahfo2",), {"stuck_off": ".1"}, "device tahfo2 has no setting 'stuck_off': its level is the share of stuck"),
        (("pcm",), {"stuck_on": ".6", "stuck_off": ".6"}, "the shares must add up to at most 1"),
        (("rram",), {"stuck": "2"}, "setting stuck=2: must be between 0 and 1"),
        (("rram",), {"stuck": "many"}, "setting stuck=many: must be a number"),
        (("rram",), {"oxide": "rust"}, "setting oxide=rust: must be one of hafnia, titania"),
    ],
)
def test_settings_that_a_device_does_not_take_are_refused(coated, devices, given, message):
    with pytest.raises((BenchError, SettingError), match=message):
        plan.cells(request(devices=devices, device_settings=given))


def test_a_cell_is_run_on_the_devices_that_its_settings_make(coated, cpu_runner, tmp_path):
    runner = cpu_runner(tmp_path, tmp_path)
    cell = only(methods=("noise_injection",), device_settings={"stuck": ".25"})
    other = dataclasses.replace(cell, device_settings={"oxide": "titania"})
    assert runner._device(cell).settings == runner._device(cell.training).settings == Coating(stuck=0.25)
    assert runner._device(other).settings == Coating(oxide="titania")


def test_the_command_of_a_cell_names_its_device_settings(coated):
    asked = request(methods=("nominal", "mtrd"), device_settings={"stuck": ".25"})
    words = ["device.stuck=.25", "mtrd.alpha=.5"]
    first, second = (words_.command(cell, asked, words) for cell in plan.cells(asked))
    assert "--set device.stuck=.25" in first and "mtrd.alpha" not in first
    assert "--set device.stuck=.25 --set mtrd.alpha=.5" in second


# Sweeps of time


def test_a_sweep_of_times_has_a_key_of_its_own_and_comes_back_from_json():
    timed = dataclasses.replace(EVALUATION, levels=(1.0,), times_s=(1.0, 3600.0))
    assert timed.key != dataclasses.replace(EVALUATION, levels=(1.0,)).key
    assert timed.key != dataclasses.replace(timed, times_s=(1.0,)).key
    again = Evaluation.from_dict(json.loads(json.dumps(timed.as_dict())))
    assert again == timed and again.key == timed.key
    assert timed.points == ((1.0, 1.0), (1.0, 3600.0))
    assert EVALUATION.points == ((0.0, None), (0.1, None))


DAY = 86_400.0


@pytest.mark.parametrize(
    "device, times",
    [
        ("pcm", (1.0, 3600.0, DAY, 30 * DAY, 365 * DAY)),
        ("reram_cmo", (1.0, 3600.0, DAY, 30 * DAY, 365 * DAY)),
        ("rram1t1r", (1.0, 3600.0, DAY)),
        ("rram_wan2022", (1.0, DAY, 2 * DAY)),
    ],
)
def test_times_go_as_far_as_the_source_reaches(device, times):
    cell = only(devices=(device,), sweep="time", network=None)
    assert (cell.times_s, cell.levels, cell.time_s, cell.preset) == (times, (1.0,), None, "smoke")


def test_a_table_of_few_times_is_swept_from_its_first_to_its_last(monkeypatch):
    device = plan.device_of("rram1t1r")
    monkeypatch.setattr(device, "times_s", (10.0, 1000.0), raising=False)
    assert usual_times(device) == (10.0, 1000.0)


def test_a_device_without_a_multiplier_is_swept_at_its_training_level():
    assert plan.device_of("rram").axis.usual_level == 0.3 and plan.device_of("pcm").axis.usual_level == 1.0


def test_own_times_and_levels_carry_a_star():
    asked = {"devices": ("pcm",), "sweep": "time", "network": None}
    assert only(**asked, times=(3600.0, 1.0)).times_s == (1.0, 3600.0)
    assert only(**asked, times=(3600.0, 1.0)).preset == only(**asked, levels=(2.0,)).preset == "smoke*"
    assert only(**asked, levels=(2.0,)).levels == (2.0,)


def test_a_network_for_a_sweep_of_times_is_that_of_a_sweep_of_levels():
    asked = {"methods": ("noise_injection",), "devices": ("pcm",)}
    assert only(**asked, sweep="time").training == only(**asked).training
    late = only(**asked, sweep="time", time_s=3600.0)
    assert late.training == only(**asked, time_s=3600.0).training and late.time_s is None


@pytest.mark.parametrize(
    "asked, words",
    [
        ({"sweep": "time"}, "device rram has no time axis: --sweep time is for pcm, reram_cmo, rram1t1r, rram_wan2022"),
        ({"sweep": "chips"}, "sweep 'chips': must be level or time"),
        ({"times": (1.0,)}, "times: they are for --sweep time"),
        ({"devices": ("pcm",), "sweep": "time", "levels": (1.0, 2.0)}, "levels 1,2: a time sweep is at one level"),
        ({"devices": ("pcm",), "sweep": "time", "levels": (99.0,)}, "pcm: level 99 is out of range"),
        ({"devices": ("pcm",), "sweep": "time", "times": (1.0, 1e11)}, "pcm: time 1e\\+11 s is out of range"),
        ({"devices": ("rram_wan2022",), "sweep": "time", "times": (3600.0,)}, "time 3600 s was not measured"),
    ],
)
def test_sweeps_that_there_are_not_are_refused(asked, words):
    with pytest.raises((BenchError, DeviceError), match=words):
        only(**asked)


# Training on another device


def test_a_network_trained_elsewhere_is_that_of_the_other_device():
    asked = {"methods": ("noise_injection",)}
    moved = only(**asked, train_on="pcm", levels=(0.3,))
    assert moved.training == only(**asked, devices=("pcm",)).training
    assert (moved.device, moved.levels, moved.time_s) == ("rram", (0.3,), None)
    assert only(**asked, train_on="rram") == only(**asked)
    assert only(train_on="pcm") == only(), "a method that uses no device has trained on none"


def test_one_time_is_the_test_devices():
    late = only(methods=("noise_injection",), devices=("reram_cmo",), train_on="pcm", time_s=1.0)
    assert (late.time_s, late.training.time_s) == (1.0, plan.device_of("pcm").default_time_s)


def test_there_is_nothing_to_train_for_on_ideal():
    with pytest.raises(BenchError, match="train-on ideal: has no deviation to train for"):
        only(methods=("noise_injection",), train_on="ideal")
    assert only(train_on="ideal") == only()


def test_the_command_of_a_cell_names_sweep_and_training_device():
    asked = request(methods=("noise_injection",), devices=("pcm",), train_on="rram", sweep="time", times=(1.0, 3600.0))
    (cell,) = plan.cells(asked)
    said = words_.command(cell, asked, [])
    assert "--sweep time --train-on rram --times 1,3600" in said
    (plain,) = plan.cells(request(train_on="pcm"))
    assert "--train-on" not in words_.command(plain, request(train_on="pcm"), [])


# Reading what was asked for


def test_numbers_and_ranges():
    assert words_.parse_numbers("0,2,5-7", "seed", int) == (0, 2, 5, 6, 7)
    assert words_.parse_numbers("3", "seed", int) == (3,)
    assert words_.parse_numbers("1,1,0-1", "seed", int) == (1, 0)
    assert words_.parse_numbers("0,.1, 1e-1,2", "levels") == (0.0, 0.1, 2.0)


@pytest.mark.parametrize("text", ["", "x", "3-1", "1-", "0-1000000", "1.5", "1,,2"])
def test_what_is_no_whole_number_is_refused(text):
    with pytest.raises(BenchError, match="whole numbers and ranges"):
        words_.parse_numbers(text, "seed", int)


@pytest.mark.parametrize("text", ["", "low", "nan", "0,inf", ".1;.2", "1e999"])
def test_what_is_no_level_is_refused(text):
    with pytest.raises(BenchError, match="levels"):
        words_.parse_numbers(text, "levels")


def test_names_with_commas_and_all():
    assert words_.names("nominal, mtrd,nominal", "methods") == ("nominal", "mtrd")
    assert {"cifar10", "mnist"} <= set(words_.names("all", "tasks"))
    for text in ("", ","):
        with pytest.raises(BenchError, match="no method named"):
            words_.names(text, "methods")


def test_levels_are_sorted_and_counted_once():
    assert only(levels=(0.3, 0.0, 0.3)).levels == (0.0, 0.3)


@pytest.mark.parametrize("asked", [{"level": -0.1}, {"level": 99.0}, {"levels": (0.0, 99.0)}, {"level": float("nan")}])
def test_levels_out_of_range_are_refused(asked):
    with pytest.raises(DeviceError, match="out of range"):
        only(methods=("noise_injection",), **asked)


def test_times_out_of_range_are_refused():
    with pytest.raises(DeviceError, match="no time axis"):
        only(time_s=1.0)
    with pytest.raises(DeviceError, match="time 1e\\+30 s is out of range"):
        only(devices=("rram1t1r",), time_s=1e30)
    assert only(devices=("rram1t1r",)).time_s == plan.device_of("rram1t1r").default_time_s


@pytest.mark.parametrize("name", ["epochs", "batch_size", "lr", "train_samples", "test_samples", "width", "half_width"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_numbers_that_no_run_can_have_are_refused(name, value):
    with pytest.raises(BenchError, match=name.replace("_", "-")):
        only(**{name: value})


def test_settings_are_read_by_their_type():
    parse = plan.parse_settings
    assert parse("mtrd", {"temperature": "3", "weighting": "softmax"}) == {"temperature": 3.0, "weighting": "softmax"}
    assert parse("noise_injection", {"warm_start": "no", "clip_w": "2"}) == {"warm_start": False, "clip_w": 2.0}
    assert parse("noise_injection", {"clip_w": "none", "straight_through": "false"}) == {}


@pytest.mark.parametrize(
    "method, key, text, message",
    [
        ("mtrd", "alpa", "1", "no setting 'alpa'; did you mean 'alpha'"),
        ("nominal", "alpha", "1", "it has no settings"),
        ("mtrd", "alpha", "much", "must be a number"),
        ("mtrd", "alpha", "nan", "must be a finite number"),
        ("mtrd", "alpha", "1.5", "must be between 0 and 1"),
        ("mtrd", "weighting", "best", "must be one of rank, softmax, uniform"),
        ("noise_injection", "warm_start", "perhaps", "must be true or false"),
        ("noise_injection", "clip_w", "0", "must be at least 0.1"),
    ],
)
def test_settings_that_a_method_does_not_take_are_refused(method, key, text, message):
    with pytest.raises((BenchError, SettingError), match=message):
        plan.parse_settings(method, {key: text})


OLD_SPELLING = Optional[float]  # noqa: UP045


@pytest.mark.parametrize("hint, text, value", [(int | None, "3", 3), (OLD_SPELLING, "none", None), (bool, "1", True)])
def test_optional_settings_of_either_spelling(hint, text, value):
    assert settings.read("x", text, hint) == value


def test_a_fitted_device_may_not_take_a_registered_name(tmp_path):
    with pytest.raises(BenchError, match="rename the file"):
        plan.device_of(str(tmp_path / "rram.json"))


def test_a_scale_of_each_tile_is_refused_where_groups_hide_the_tiles():
    grouped = {"network": "timm:mobilenetv2_050", "devices": ("stuck",), "width": 1.0, "tasks": ("cifar10",)}
    with pytest.raises(BenchError, match=r"setting scale=tile: layer \S+ is a grouped convolution.*take scale=column"):
        only(**grouped, device_settings={"scale": "tile"})
    only(**grouped, device_settings={"scale": "column"})
    only(devices=("stuck",), device_settings={"scale": "tile"})


@pytest.mark.parametrize(
    "device, given, reason",
    [
        ("rram", {"read_v": ".1"}, "no setting 'read_v': it varies weights, and has no cells"),
        ("ideal", {"read_v": ".1"}, "no setting 'read_v': it varies weights, and has no cells"),
        ("rram1t1r", {"pairs": "2"}, "no setting 'pairs': its mapping is fixed: one pair a weight"),
        ("rram1t1r", {"scale": "column"}, "no setting 'scale': its mapping is fixed"),
        ("rram_wan2022", {"compensation": "on"}, "no setting 'compensation': its source describes no compensation"),
        ("rram1", {"compensation": "on"}, "no setting 'compensation': its source describes no compensation"),
        ("rram1", {"cell_bits": "2"}, "no setting 'cell_bits': its slices are 2-bit cells; form=sliced"),
        ("pcm", {"read_noise": ".1"}, "no setting 'read_noise': its reads are noisy already"),
        ("reram_cmo", {"read_noise": ".1"}, "no setting 'read_noise': its reads are noisy already"),
        ("rram", {"tile_rows": "64"}, "setting tile_rows=64: changes nothing where nothing happens to a tile"),
        ("rram", {"tile_columns": "64", "ir_drop": "1"}, "setting tile_columns=64: changes nothing without an ADC"),
        ("stuck", {"dac_range": ".5"}, "setting dac_range=0.5: means nothing where nothing refers to the inputs'"),
        ("siox_high", {"residual_correlation": ".5"}, "setting residual_correlation=0.5: two spreads correlate"),
        (
            "siox_high",
            {"residual_correlation": ".5", "residual_c": ".1"},
            "setting residual_correlation=0.5: two spreads correlate",
        ),
    ],
)
def test_settings_that_would_change_nothing_are_refused_with_the_reason(device, given, reason):
    """They would give the same numbers another key."""
    with pytest.raises((BenchError, SettingError), match=re.escape(reason)) as refused:
        only(devices=(device,), device_settings=given)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "device, given",
    [
        ("stuck", {"read_v": ".1"}),
        ("stuck", {"tile_rows": "64", "scale": "tile"}),
        ("rram", {"tile_rows": "64", "output_noise": ".1"}),
        ("rram", {"tile_columns": "64", "adc_bits": "6"}),
        ("rram", {"dac_range": ".5", "input_noise": ".1"}),
        ("siox_high", {"dac_range": ".5"}),
        ("siox_high", {"residual_correlation": ".5", "residual_c": ".1", "residual_d": ".1"}),
        ("rram_wan2022", {"read_noise": ".1"}),
    ],
)
def test_the_same_settings_are_taken_where_they_change_something(device, given):
    assert only(devices=(device,), device_settings=given).device_settings.keys() == given.keys()
