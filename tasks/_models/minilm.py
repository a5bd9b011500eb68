"""MiniLM: a BERT encoder of six layers, 384 wide, mean over the word pieces, a linear layer to the classes.

Source: Wang et al. 2020, "MiniLM", arXiv 2002.10957; Reimers and Gurevych 2019 (mean pooling); BERT as in Hugging Face
transformers. 22.7 M parameters, 10.6 M of them in linear layers, which are all on the crossbar; embeddings,
LayerNorm and softmax are digital. `layers=N` takes the first N layers alone.
"""

from typing import Any

from torch import Tensor, nn

PADDING, VOCABULARY, WIDTH, LAYERS = 0, 30_522, 384, 6


class MiniLm(nn.Module):
    """Numbers of word pieces (n, length), 0 beyond the end -> logits (n, classes)."""

    def __init__(self, encoder: Any, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, pieces: Tensor) -> Tensor:
        """int64 (n, length) -> (n, classes)."""
        pieces = pieces[:, : max(int((pieces != PADDING).sum(1).max()), 1)]  # the longest of the batch
        present = pieces != PADDING
        y = self.encoder(input_ids=pieces, attention_mask=present.long()).last_hidden_state
        share = present / present.sum(1, keepdim=True)
        return self.head(self.drop((y * share.unsqueeze(-1)).sum(1)))


def build(in_shape: tuple[int], classes: int, width: float = 1.0, layers: int = LAYERS) -> nn.Module:
    """`in_shape`: (length,). ValueError for another width: it starts from weights of this one."""
    from transformers import BertConfig, BertModel

    if width != 1:
        raise ValueError("its weights have one width, leave it at 1; layers=N makes it smaller")
    if layers not in range(1, LAYERS + 1):
        raise ValueError(f"layers={layers} must be 1 to {LAYERS}")
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=12,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=512,
    )
    return MiniLm(BertModel(config, add_pooling_layer=False), classes)
