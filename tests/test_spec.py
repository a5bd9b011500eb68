"""Trainings and Evaluations: what they are called, when two of them are one, and what a request turns into."""

import dataclasses
import json
from typing import Any, Optional

import pytest

from bench import commands, plan, presets, registry, settings
from bench.errors import BenchError
from bench.spec import ChipPolicy, Evaluation, Training, canonical, key_of, seed_of
from devices._base import DeviceError, SettingError, Settings, setting
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
class Coating(Settings):
    """Settings that a test gives to rram."""

    oxide: str = setting("hafnia", "what the cell is made of", choices=("hafnia", "titania"))
    stuck: float = setting(0.0, "share of cells", low=0.0, high=1.0)


@pytest.fixture
def coated(monkeypatch):
    """rram has settings."""
    monkeypatch.setattr(Rram, "Settings", Coating)


def test_without_device_settings_a_value_has_the_form_of_the_first_release():
    for value in (TRAINING, EVALUATION):
        assert "device_settings" not in canonical(value.as_dict())


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
    first, second = (commands._command(cell, asked, words) for cell in plan.cells(asked))
    assert "--set device.stuck=.25" in first and "mtrd.alpha" not in first
    assert "--set device.stuck=.25 --set mtrd.alpha=.5" in second


# Reading what was asked for


def test_numbers_and_ranges():
    assert plan.parse_numbers("0,2,5-7", "seed", int) == (0, 2, 5, 6, 7)
    assert plan.parse_numbers("3", "seed", int) == (3,)
    assert plan.parse_numbers("1,1,0-1", "seed", int) == (1, 0)
    assert plan.parse_numbers("0,.1, 1e-1,2", "levels") == (0.0, 0.1, 2.0)


@pytest.mark.parametrize("text", ["", "x", "3-1", "1-", "0-1000000", "1.5", "1,,2"])
def test_what_is_no_whole_number_is_refused(text):
    with pytest.raises(BenchError, match="whole numbers and ranges"):
        plan.parse_numbers(text, "seed", int)


@pytest.mark.parametrize("text", ["", "low", "nan", "0,inf", ".1;.2", "1e999"])
def test_what_is_no_level_is_refused(text):
    with pytest.raises(BenchError, match="levels"):
        plan.parse_numbers(text, "levels")


def test_names_with_commas_and_all():
    assert plan.names("nominal, mtrd,nominal", "methods") == ("nominal", "mtrd")
    assert {"cifar10", "mnist"} <= set(plan.names("all", "tasks"))
    for text in ("", ","):
        with pytest.raises(BenchError, match="no method named"):
            plan.names(text, "methods")


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
