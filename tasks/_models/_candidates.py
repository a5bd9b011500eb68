"""The words over which a language model's softmax goes in training, where the whole vocabulary would be too dear.

For each token to be predicted: the most frequent words, one in COMB of the others, and the word itself. A word of
that comb stands for COMB of its kind, so e^y of it counts that often: the sum over candidates estimates the whole
sum without bias (importance sampling, Bengio and Senécal 2003). Words are numbered by falling frequency.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FREQUENT, COMB = 4000, 16
NEVER = -1e4  # logit of a column that is no candidate for a token


class Decoder(nn.Linear):
    """Hidden states to logits: of all words, or of candidates where the words to be predicted are given."""

    def forward(self, x: Tensor, targets: Tensor | None = None) -> Tensor:
        """x (n, predicted, hidden), targets (n, predicted) -> (n, predicted, words or columns)."""
        return super().forward(x) if targets is None else sampled_logits(x, self.weight, self.bias, targets)


def sampled_logits(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """x (n, predicted, hidden), weight (words, hidden), targets (n, predicted) -> (n, predicted, columns).

    The batch alone decides which words are the comb's, so networks that see the same batch agree on the columns.
    """
    words = torch.arange(len(weight), device=x.device)
    frequent, rare = words[:FREQUENT], _rare(targets)
    comb = words[FREQUENT:][int(targets.sum()) % COMB :: COMB]
    rows = torch.cat([frequent, rare, comb])
    y = F.linear(x, weight.index_select(0, rows), bias.index_select(0, rows))
    always, own, others = y.split([len(frequent), len(rare), len(comb)], dim=-1)
    own = own.masked_fill(rare != targets.unsqueeze(-1), NEVER)
    others = (others + math.log(COMB)).masked_fill(comb == targets.unsqueeze(-1), NEVER)
    return torch.cat([always, own, others], dim=-1)


def columns(targets: Tensor) -> Tensor:
    """Where the logits of the targets (n, predicted) themselves are among `sampled_logits`."""
    place = torch.searchsorted(_rare(targets), targets.contiguous())
    return torch.where(targets < FREQUENT, targets, FREQUENT + place)


def _rare(targets: Tensor) -> Tensor:
    """The targets that are not always candidates, each once, sorted."""
    return targets[targets >= FREQUENT].unique()
