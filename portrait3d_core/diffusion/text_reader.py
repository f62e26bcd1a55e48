"""A small network that reads what a sentence says: its words, in their order, to the chance that each known fact is stated.

It knows a few hundred words. What it does not know is found in :func:`in_known_words`, corrected where a known word is
close, and otherwise left out, so that whoever asked can be told.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

PAD, START = 0, 1
"""Ids before those of the words."""
SIMILAR = 0.8
"""Least similarity (difflib) of a misspelt word to a known one."""
SHORTEST_CORRECTED = 4
"""Letters below which a word is not taken for a misspelt one."""
FUNCTION_WORDS = frozenset(
    "a an the and or of in on at to with who has is are was be it its his her their this that he she they wearing wears looks "
    "looking very quite rather please make made me my some for from by as like".split()
)
"""Words that may be left out without being named."""


@dataclass(frozen=True)
class KnownText:
    """A sentence in the words of a reader.

    words:     those it knows, in order, misspelt ones corrected.
    corrected: (as written, as read).
    unknown:   what was left out, function words aside.
    """

    words: tuple[str, ...]
    corrected: tuple[tuple[str, str], ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The words as a sentence."""
        return " ".join(self.words).replace(" ,", ",").replace(" - ", "-")


def split_words(text: str) -> list[str]:
    """Lower-case words, digits, commas and hyphens of a text."""
    return re.findall(r"[^\W\d_]+|[0-9]|[,-]", text.lower())


def in_known_words(text: str, words: frozenset[str]) -> KnownText:
    """``text`` word by word; the words are lower case, hyphens and commas stand for themselves."""
    kept: list[str] = []
    corrected: list[tuple[str, str]] = []
    unknown: list[str] = []
    for word in split_words(text):
        if word in words:
            kept.append(word)
            continue
        close = difflib.get_close_matches(word, words, 1, SIMILAR) if len(word) >= SHORTEST_CORRECTED else []
        if close and word not in FUNCTION_WORDS:
            kept.append(close[0])
            corrected.append((word, close[0]))
        elif word not in FUNCTION_WORDS and word.isalpha():
            unknown.append(word)
    return KnownText(tuple(kept), tuple(dict.fromkeys(corrected)), tuple(dict.fromkeys(unknown)))


@dataclass(frozen=True)
class ReaderConfig:
    """words: in the order of their ids.  facts: in the order of the outputs.  longest: words read of a text."""

    words: tuple[str, ...]
    facts: tuple[str, ...]
    width: int = 96
    layers: int = 2
    heads: int = 4
    longest: int = 64


class TextReader(nn.Module):
    """Ids of words [N, L] to logits of facts [N, F]: a small transformer, and a linear map of its mean over the words."""

    def __init__(self, config: ReaderConfig) -> None:
        super().__init__()
        self.config = config
        self.known = frozenset(config.words)
        self.ids = {word: START + 1 + index for index, word in enumerate(config.words)}
        self.word = nn.Embedding(len(config.words) + START + 1, config.width)
        self.place = nn.Parameter(0.02 * torch.randn(config.longest, config.width))
        layer = nn.TransformerEncoderLayer(
            config.width, config.heads, 4 * config.width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, config.layers, nn.LayerNorm(config.width), enable_nested_tensor=False)
        self.facts = nn.Linear(config.width, len(config.facts))

    def tokens(self, texts: Sequence[Sequence[str]]) -> Tensor:
        """[N, L] ids of known words, a start mark before them, padding behind; L as long as the longest text needs."""
        rows = [[START, *(self.ids[word] for word in text)][: self.config.longest] for text in texts]
        tokens = torch.full((len(rows), max(map(len, rows), default=1)), PAD)
        for row, ids in zip(tokens, rows):
            row[: len(ids)] = torch.tensor(ids)
        return tokens

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [N, F]."""
        padding = tokens == PAD
        states = self.layers(self.word(tokens) + self.place[: tokens.shape[1]], src_key_padding_mask=padding)
        read = (~padding)[..., None].to(states)
        return self.facts((states * read).sum(dim=1) / read.sum(dim=1))
