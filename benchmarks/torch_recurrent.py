"""RNNsearch and Luong's model written plainly in PyTorch: peers for `train_step.py`."""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from nmt.config import RecurrentConfig
from nmt.data.batching import Batch


class Recurrent(nn.Module):
    """`nn.GRU` or `nn.LSTM` reads; cells of the same kind write, a step at a time, and attend.

    Raises:
      ValueError: it was not written for such a model.
    """

    def __init__(self, config: RecurrentConfig, vocab_size: int) -> None:
        super().__init__()
        known = config.attention in ("additive", "general") and config.window is None
        if not known or (config.decoder == "bahdanau" and config.num_layers > 1):
            raise ValueError(f"no peer is written for {config}")
        self.config = config
        width, gru = config.hidden_dim, config.cell == "gru"
        self.embedding = nn.Embedding(vocab_size, config.emb_dim)
        self.encoder = (nn.GRU if gru else nn.LSTM)(
            config.emb_dim,
            config.encoder_width,
            config.num_layers,
            batch_first=True,
            dropout=config.dropout_rate if config.num_layers > 1 else 0.0,
            bidirectional=config.reading == "both",
        )
        annotation, readout = config.annotation_dim, config.readout_width
        luong = config.decoder == "luong"
        fed = readout if luong else annotation
        sizes = [config.emb_dim + fed] + [width] * (config.num_layers - 1)
        self.cells = nn.ModuleList((nn.GRUCell if gru else nn.LSTMCell)(s, width) for s in sizes)
        self.key = nn.Linear(annotation, config.attention_width, bias=False)
        if config.attention == "additive":
            self.query = nn.Linear(width, config.attention_width, bias=False)
            self.score = nn.Linear(config.attention_width, 1, bias=False)
        if luong:
            self.combine = nn.Linear(annotation + width, readout, bias=False)
        else:
            self.begin = nn.Linear(config.encoder_width, width)
            self.readout = nn.Linear(width + config.emb_dim + annotation, 2 * readout)
        self.output = nn.Linear(readout, vocab_size, bias=False)

    def look(self, state: Any, annotations: Any, keys: Any, padding: Any) -> Any:
        """Returns the context of a state."""
        if self.config.attention == "additive":
            scores = self.score(torch.tanh(self.query(state)[:, None] + keys))[..., 0]
        else:
            scores = (keys @ state[..., None])[..., 0]
        weights = scores.masked_fill(padding, float("-inf")).softmax(-1)
        return (weights[:, None] @ annotations)[:, 0]

    def loss(self, batch: Batch, label_smoothing: float, pad_id: int) -> Any:
        """Returns the mean of the target tokens of a batch of tensors."""
        config, rate = self.config, self.config.dropout_rate
        padding = batch.source_segments == 0
        annotations, last = self.encoder(F.dropout(self.embedding(batch.source), rate))
        keys = self.key(annotations)
        embedded = F.dropout(self.embedding(batch.decoder_input), rate)
        read = []
        if config.decoder == "bahdanau":
            state = torch.tanh(self.begin(last[-1]))
            for y in embedded.unbind(1):
                context = self.look(state, annotations, keys, padding)
                x = self.readout(torch.cat([state, y, context], -1))
                read.append(x.unflatten(-1, (-1, 2)).amax(-1))
                state = self.cells[0](torch.cat([y, context], -1), state)
        else:
            states = list(zip(*last, strict=True))
            vector = torch.zeros_like(states[0][0])
            for y in embedded.unbind(1):
                x = torch.cat([y, vector], -1)
                for number, cell in enumerate(self.cells):
                    states[number] = cell(x, states[number])
                    x = F.dropout(states[number][0], rate if number + 1 < len(states) else 0.0)
                context = self.look(x, annotations, keys, padding)
                vector = torch.tanh(self.combine(torch.cat([context, x], -1)))
                read.append(vector)
        return F.cross_entropy(
            self.output(F.dropout(torch.stack(read, 1), rate)).flatten(0, 1),
            batch.labels.flatten(),
            ignore_index=pad_id,
            label_smoothing=label_smoothing,
        )
