"""The same code on a GPU; skipped where there is none (CI proves the CPU path)."""

import pytest
import torch

from bench import fast, plan, registry
from bench.progress import Monitor
from bench.rig import Rig, chip_generator
from bench.runner import Runner

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@pytest.mark.parametrize("name", sorted(registry.entries("devices")))
def test_a_chip_is_the_same_chip_on_both(name):
    device, weights = plan.device_of(name), {"w": torch.randn(64, 32)}
    level = device.axis.levels[-1]
    made = [
        device.program(
            {"w": weights["w"].to(where)}, chip_generator("test chip", 0), level=level, time_s=device.default_time_s
        )["w"].cpu()
        for where in ("cpu", "cuda")
    ]
    assert torch.allclose(*made, rtol=1e-4, atol=1e-5)  # logarithms and powers differ in their last digits


@pytest.mark.parametrize("method", sorted(registry.entries("methods")))
def test_a_cell_runs_and_its_sweep_agrees_with_the_cpu(home, tmp_path, one_cell, method):
    gpu = fast.processor("cuda")
    cell = one_cell(method, "rram", "cifar10", network="vgg8_mtrd", test_samples=200, chips=2)
    runner = Runner(home=home, results=tmp_path, data_dir=None, processor=gpu, monitor=Monitor(quiet=True))
    record = runner.run(cell, "gpu")
    assert record["environment"]["peak_memory_mib"] > 0
    task, splits = runner.task(cell.evaluation.training)
    network = runner.train(cell.evaluation.training).cpu()
    rig = Rig(network, task.analog(network), task, splits.test.head(200), "fp32")
    device = plan.device_of("rram")
    for level in record["levels"][1:]:
        for c, metric in enumerate(level["chips"]):
            chip = rig.program(device, chip_generator("test chip", c), level["level"], None)
            assert rig.measure(chip)[0] == pytest.approx(metric, abs=1.0)


@pytest.mark.parametrize("name", sorted(registry.entries("devices")))
def test_noise_drawn_for_training_lives_where_the_network_lives(name):
    network = torch.nn.Linear(10, 10).to("cuda")
    generator = torch.Generator(device="cuda").manual_seed(0)
    device = plan.device_of(name)
    chip = device.training_chip({"weight": network.weight}, generator, level=device.axis.train_level)
    assert chip["weight"].device.type == "cuda" and chip["weight"].isfinite().all()
