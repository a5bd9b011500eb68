"""Committee: five networks that were initialised differently, whose outputs are averaged.

Source: Wu et al., "Robust distillation for compute-in-memory" (MTRD), the committee machine it compares with:
five clean networks, logits averaged. Each member has its own part of the chip, so that deviations average out
too. It does not see the device: one run serves all devices.
Deviations: members are the nominal runs of other seeds, so that they are trained once; committees of different
seeds share none of them. It takes `members` times the cells, and its record counts their training, all of it
under the costs of the trainings that it rests on.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods._base import Budget, Context, Deployable, Method, Needed, Settings, setting


@dataclass(frozen=True, kw_only=True)
class CommitteeSettings(Settings):
    """Settings of a committee."""

    members: int = setting(5, "networks whose outputs are averaged", low=1, high=20, tune=False)


class Members(nn.Module):
    """Networks with the same inputs and averaged outputs."""

    def __init__(self, networks: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        """(n, ...) -> the mean of the members' outputs, in float32."""
        return torch.stack([member(x).float() for member in self.members]).mean(0)


class Committee(Method):
    """Averages the outputs of several nominal networks; no noise in training."""

    name = "committee"
    source = "Wu et al., MTRD (comparator)"
    uses_device = False
    finetunes = False
    rests_on = ("nominal",)
    Settings = CommitteeSettings

    def fit(self, context: Context) -> Deployable:
        """Train the missing members, the seed s's from the seeds members s, ..., members s + members - 1."""
        needed = self.needs(context.level, context.seed, context.device.axis.levels)
        committee = Members([context.train(member.method, seed=member.seed) for member in needed])
        return Deployable(committee, context.task.analog(committee))

    def own_epochs(self, budget: Budget) -> float:
        """None: the members are other runs."""
        return 0

    def needs(self, level: float, seed: int, levels: tuple[float, ...]) -> tuple[Needed, ...]:
        """The members."""
        n = self.settings.members
        return tuple(Needed("nominal", seed=seed * n + i) for i in range(n))

    def frame(self, network: nn.Module, analog: tuple[str, ...]) -> nn.Module:
        """As many networks as there are members."""
        return Members([copy.deepcopy(network) for _ in range(self.settings.members)])
