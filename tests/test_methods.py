"""What the methods promise, number by number."""

import pytest
import torch
from torch import Tensor, nn

from bench import plan
from devices._base import Device, SettingError
from methods._base import Budget, MethodError
from methods._loop import MAX_NORM, sgd
from methods.mtrd import teacher_weights


def test_rank_weights_give_the_least_improved_level_the_most():
    weights = teacher_weights([0.5, -1.0, 3.0, 0.1], "rank")
    assert [w / weights[2] for w in weights] == pytest.approx([1.5, 2.5, 1.0, 2.0])
    assert sum(weights) == pytest.approx(1)


def test_softmax_weights_follow_the_prose_of_the_manuscript():
    gains = [0.5, -1.0, 3.0]
    weights = teacher_weights(gains, "softmax")
    raw = torch.exp(-torch.tensor(gains, dtype=torch.float64))
    assert weights == pytest.approx((raw / raw.sum()).tolist())
    assert max(weights) == weights[1]


def test_uniform_weights():
    assert teacher_weights([1.0, 2.0], "uniform") == [0.5, 0.5]
    assert teacher_weights([1.0], "rank") == [1.0]


class _Recorder:
    """A Context that trains nothing: it shows a method's own arithmetic."""

    def __init__(self, device: Device, level: float) -> None:
        self.task = plan.task_of("mnist")
        self.device, self.level, self.time_s = device, level, device.default_time_s
        self.budget = Budget(epochs=1, finetune_epochs=1, batch_size=8)
        self.generator = torch.Generator().manual_seed(0)
        self.asked: list[tuple[str, float | None]] = []
        self.levels_drawn: list[float] = []
        self.statistics: list[bool] = []
        self.reports: list[dict[str, float]] = []
        torch.manual_seed(0)
        self.images = torch.randint(0, 256, (16, 1, 28, 28), dtype=torch.uint8)
        self.targets = torch.randint(0, 10, (16,))

    def network(self) -> nn.Module:
        torch.manual_seed(0)
        return self.task.network("mlp")

    def train(self, method, *, level=None, **settings):
        self.asked.append((method, level))
        return self.network()

    def forward(self, network, inputs, chip=None, *, update_statistics=True):
        self.statistics.append(update_statistics)
        return torch.func.functional_call(network, dict(chip or {}), (inputs,))

    def chip(self, network, names, *, level=None, straight_through=False):
        level = self.level if level is None else level
        self.levels_drawn.append(level)
        weights = {n: p for n, p in network.named_parameters() if n in names}
        return self.device.training_chip(
            weights, self.generator, level=level, time_s=self.time_s, straight_through=straight_through
        )

    def epochs(self, n, state):
        yield from range(n)

    def steps_per_epoch(self):
        return 2

    def batches(self):
        for half in (slice(0, 8), slice(8, 16)):
            yield self.task.prepare(self.images[half]), self.targets[half]

    def score(self, network, levels):
        return [50.0 + level for level in levels]

    def report(self, **figures):
        self.reports.append(figures)


def test_mtrd_asks_for_a_teacher_a_level_and_the_clean_one():
    device = plan.device_of("rram")
    context = _Recorder(device, 0.3)
    plan.method_of("mtrd").fit(context)
    levels = [level for level in device.axis.levels if level > 0]
    assert context.asked[0] == ("noise_injection", 0.3), "the student starts from the teacher at its own level"
    assert sorted(context.asked[1:], key=str) == sorted(
        [("nominal", None), *(("noise_injection", level) for level in levels)], key=str
    )
    # Each step: one fresh chip a teacher at its own level, then the student's own.
    assert context.levels_drawn[:7] == [0.0, *levels, 0.3]
    # Each step: the student's clean pass leaves the running statistics alone, the others may not.
    assert context.statistics[:8] == [False, *[True] * 7]


class _Tape(_Recorder):
    """A _Recorder with one batch an epoch, a network of its own for each run, and scores that follow a script.

    It keeps what a loss is made of: the outputs of each epoch, and the teachers' weights.
    """

    def __init__(self, device: Device, level: float, scores: list[list[float]]) -> None:
        super().__init__(device, level)
        self.budget = Budget(epochs=1, finetune_epochs=len(scores), batch_size=16)
        self.scores = iter(scores)
        self.outputs: list[list[Tensor]] = []
        self.betas: list[list[float]] = []

    def train(self, method, *, level=None, **settings):
        super().train(method, level=level, **settings)
        torch.manual_seed(len(self.asked))
        return self.task.network("mlp")

    def forward(self, network, inputs, chip=None, *, update_statistics=True):
        output = super().forward(network, inputs, chip, update_statistics=update_statistics)
        self.outputs[-1].append(output.detach())
        return output

    def epochs(self, n, state):
        for epoch in range(n):
            self.outputs.append([])
            self.betas.append(list(state["progress"]["betas"]))
            yield epoch

    def steps_per_epoch(self):
        return 1

    def batches(self):
        yield self.task.prepare(self.images), self.targets

    def score(self, network, levels):
        return next(self.scores)


START = [50.0] * 6
# Gains at the levels 0 to .5: 0, 3, -4, 1, 2 and 5, so .2 is where the student fell and .5 where it gained most.
LATER = [50.0, 53.0, 46.0, 51.0, 52.0, 55.0]


def fit_mtrd(**settings: float) -> _Tape:
    """Two epochs of a student at level .3, whose scores go from START to LATER after the first."""
    context = _Tape(plan.device_of("rram"), 0.3, [START, LATER])
    plan.method_of("mtrd", settings).fit(context)
    return context


@pytest.mark.parametrize("temperature, alpha", [(5.0, 0.7), (2.0, 0.25)])
def test_mtrd_minimises_the_loss_of_the_manuscript(temperature, alpha):
    context = fit_mtrd(temperature=temperature, alpha=alpha)
    uniform = torch.full((6,), 1 / 6)
    reweighed = torch.tensor([2.2, 1.3, 2.5, 1.9, 1.6, 1.0]) / 10.5  # 2.5 to 1 by place, least improved first
    for outputs, betas, report in zip(context.outputs, (uniform, reweighed), context.reports, strict=True):
        clean, *teachers, noisy = outputs
        student = (clean / temperature).softmax(1)
        lessons = [(teacher / temperature).softmax(1) for teacher in teachers]
        kl = torch.stack([(p * (p / student).log()).sum(1).mean() for p in lessons])
        right = noisy.softmax(1)[range(16), context.targets]
        loss = alpha * temperature**2 * (betas * kl).sum() + (1 - alpha) * -right.log().mean()
        assert report["loss"] == pytest.approx(loss.item(), rel=1e-4)
        assert kl.max() > 1.2 * kl.min(), "the teachers must differ for the betas to show"


def test_the_level_at_which_the_student_fell_gets_the_largest_weight():
    context = fit_mtrd()
    first, second = context.betas
    assert first == pytest.approx([1 / 6] * 6)
    assert second.index(max(second)) == LATER.index(min(LATER))
    assert second.index(min(second)) == LATER.index(max(LATER))


def test_fixed_weights_of_teachers_stay_and_ask_for_no_scores():
    context = _Tape(plan.device_of("rram"), 0.3, [START, LATER])
    context.score = None  # not called
    plan.method_of("mtrd", {"betas": "2, 0,.5,.5,1,0"}).fit(context)
    assert context.betas == [pytest.approx([0.5, 0, 0.125, 0.125, 0.25, 0])] * 2


@pytest.mark.parametrize(
    "betas, reason",
    [
        ("1,2", "setting betas=1,2: must be 6 numbers, for the teachers at 0, 0.1, 0.2, 0.3, 0.4, 0.5"),
        ("0,0,0,0,0,0", "one must be above 0"),
    ],
)
def test_weights_that_fit_no_teachers_are_refused_before_any_is_trained(betas, reason):
    context = _Recorder(plan.device_of("rram"), 0.3)
    with pytest.raises(MethodError, match=reason):
        plan.method_of("mtrd", {"betas": betas}).fit(context)
    assert context.asked == []


def test_a_student_may_take_epochs_of_its_own():
    context = _Tape(plan.device_of("rram"), 0.3, [START, LATER, LATER])
    context.budget = Budget(epochs=1, finetune_epochs=1, batch_size=16)
    plan.method_of("mtrd", {"student_epochs": 3}).fit(context)
    assert len(context.outputs) == 3


def test_noise_injection_without_warm_start_trains_from_scratch():
    context = _Recorder(plan.device_of("rram"), 0.3)
    plan.method_of("noise_injection", {"warm_start": False}).fit(context)
    assert context.asked == []
    assert len(context.levels_drawn) == 4, "two epochs of two steps"


@pytest.mark.parametrize("bound", [1.0, 2.0])
def test_clip_w_bounds_every_crossbar_tensor(bound):
    context = _Recorder(plan.device_of("rram"), 0.3)
    network = plan.method_of("noise_injection", {"clip_w": bound}).fit(context).network
    for weight in (p for n, p in network.named_parameters() if n.endswith("weight")):
        # Clipping lowers the std that bounded it, so the bound is on the std before: slightly larger.
        assert weight.abs().max() <= bound * weight.std() * (1.0 + 1.0 / bound)


def test_gradient_goes_through_the_lognormal_factor_or_straight_through():
    device = plan.device_of("rram")
    weight = {"w": torch.randn(1000, requires_grad=True)}
    for straight in (False, True):
        chip = device.training_chip(weight, torch.Generator().manual_seed(3), level=0.4, straight_through=straight)
        (grad,) = torch.autograd.grad(chip["w"].sum(), weight["w"])
        expected = torch.ones(1000) if straight else (chip["w"] / weight["w"]).detach()
        assert torch.allclose(grad, expected)


def test_measured_device_trains_straight_through():
    device = plan.device_of("rram1t1r")
    weight = {"w": torch.randn(1000, requires_grad=True)}
    chip = device.training_chip(weight, torch.Generator().manual_seed(3), level=1.0, time_s=1e5)
    (grad,) = torch.autograd.grad((2 * chip["w"]).sum(), weight["w"])
    assert torch.equal(grad, torch.full((1000,), 2.0))
    assert not torch.allclose(chip["w"], weight["w"])


@pytest.mark.parametrize(
    "between, short", [(nn.Identity(), True), (nn.BatchNorm1d(8), False), (nn.LayerNorm(8), False)]
)
def test_gradients_are_kept_short_where_nothing_normalises(between, short):
    context = _Recorder(plan.device_of("ideal"), 0.0)
    context.budget = Budget(epochs=1, finetune_epochs=0, batch_size=8, weight_decay=0.0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 8), between, nn.Linear(8, 10))
    before = [p.detach().clone() for p in network.parameters()]
    walked = []

    def loss(inputs, targets):
        moved = [(p - b).detach().square().sum() for p, b in zip(network.parameters(), before, strict=True)]
        walked.append(torch.stack(moved).sum().sqrt().item())
        return 1000 * context.task.loss(network(inputs), targets)

    sgd(context, network, loss, epochs=1, lr=0.25)
    longest = (
        1.9 * 0.01 * MAX_NORM
    )  # one-cycle's first rate is 1/25 of its peak; Nesterov's first step is 1.9 gradients
    assert walked[0] == 0
    assert walked[1] == pytest.approx(longest, rel=1e-3) if short else walked[1] > 2 * longest


def test_a_budget_may_say_adamw():
    """Its first step is the rate against the sign of the gradient, after decay; one-cycle's first rate is 1/25."""
    context = _Recorder(plan.device_of("ideal"), 0.0)
    context.budget = Budget(epochs=1, finetune_epochs=0, batch_size=8, weight_decay=0.5, optimizer="adamw")
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    weight = network.get_parameter("1.weight")
    seen = []

    def loss(inputs, targets):
        seen.append(weight.detach().clone())
        return context.task.loss(network(inputs), targets)

    def keep():
        seen.append(weight.grad.sign())

    sgd(context, network, loss, epochs=1, lr=0.25, after_step=keep)
    expected = seen[0] * (1 - 0.01 * 0.5) - 0.01 * seen[1]
    assert torch.allclose(seen[2][seen[1] != 0], expected[seen[1] != 0], atol=1e-4)


def test_divergence_is_an_error():
    context = _Recorder(plan.device_of("ideal"), 0.0)
    context.budget = Budget(epochs=2, finetune_epochs=0, batch_size=8, lr=1e30)
    with pytest.raises(MethodError, match="diverged"):
        plan.method_of("nominal").fit(context)


@pytest.mark.parametrize(
    "bad", [{"alpha": 1.5}, {"temperature": 0.0}, {"weighting": "loudest"}, {"betas": "1,x"}, {"betas": "1,-1"}]
)
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(SettingError, match=next(iter(bad))):
        plan.method_of("mtrd", bad)


def test_a_setting_that_another_makes_meaningless_is_refused():
    with pytest.raises(SettingError, match="setting weighting=softmax: means nothing where betas is given"):
        plan.method_of("mtrd", {"betas": "1,1", "weighting": "softmax"})
