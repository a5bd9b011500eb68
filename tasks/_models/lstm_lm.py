"""LSTM language model: embedding, two LSTM layers of 200, a linear layer to the vocabulary.

Source: Zaremba et al. 2014, "Recurrent Neural Network Regularization", arXiv 1409.2329; 2 x 200 on WikiText-2 as in
Rasch et al. 2023, arXiv 2302.08469. With `tied=true` one tensor embeds words and decodes them (Press and Wolf 2017):
on hardware these are two, a digital table and a crossbar, so a chip disturbs the decoder alone.
Deviations: in training the softmax goes over a part of the vocabulary (tasks/_models/_candidates.py).
"""

from torch import Tensor, nn

from tasks._models._candidates import Decoder
from tasks._models._parts import scaled

HIDDEN, INIT = 200, 0.1


class LstmLm(nn.Module):
    """Words (n, context + predicted) -> logits (n, predicted, words); words are numbered by falling frequency.

    Given one word more, the last of those that are to be predicted, it gives the logits of candidates.
    """

    def __init__(self, context: int, predicted: int, words: int, hidden: int, tied: bool, dropout: float) -> None:
        super().__init__()
        self.context, self.predicted = context, predicted
        self.drop = nn.Dropout(dropout)
        self.lstm1 = nn.LSTM(hidden, hidden, batch_first=True)
        self.drop1 = nn.Dropout(dropout)
        self.lstm2 = nn.LSTM(hidden, hidden, batch_first=True)
        self.drop2 = nn.Dropout(dropout)
        self.decoder = Decoder(hidden, words)
        nn.init.uniform_(self.decoder.weight, -INIT, INIT)
        nn.init.zeros_(self.decoder.bias)
        # In a list, where functional_call does not find it: the table stays digital when a chip is the decoder.
        self._tied = [self.decoder.weight] if tied else []
        if not tied:
            self.embedding = nn.Embedding(words, hidden)
            nn.init.uniform_(self.embedding.weight, -INIT, INIT)

    def forward(self, words: Tensor) -> Tensor:
        """int64 (n, context + predicted [+ 1]) -> logits (n, predicted, words or candidates)."""
        length = self.context + self.predicted
        seen = words[:, :length]
        x = nn.functional.embedding(seen, self._tied[0]) if self._tied else self.embedding(seen)
        x = self.drop1(self.lstm1(self.drop(x))[0])
        x = self.drop2(self.lstm2(x)[0][:, self.context :])
        return self.decoder(x, words[:, -self.predicted :] if words.shape[1] > length else None)


def build(
    in_shape: tuple[int, int], classes: int, width: float = 1.0, tied: bool = False, dropout: float = 0.0
) -> nn.Module:
    """`in_shape`: words that are context alone, words that are predicted; `classes`: size of the vocabulary."""
    return LstmLm(*in_shape, classes, scaled(HIDDEN, width), tied, dropout)
