"""A CLIP tokenizer whose every grammar word is one token and whose other words fall back to letters."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
_WORD_END = "</w>"


@dataclass(frozen=True)
class Language:
    """What a text encoder reads.

    grammar:    the words, digits and signs of training captions.
    words:      what is one token each, the grammar among it.
    max_tokens: longest text, with the two marks around it.
    """

    grammar: tuple[str, ...]
    words: tuple[str, ...]
    max_tokens: int


def build_vocabulary(words: tuple[str, ...]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Byte-pair vocabulary and merges under which every one of ``words`` becomes a single token.

    Each word is first split by the merges so far; the pieces left over are then joined by new, later merges.
    Later merges never change the path of an earlier word, because byte-pair encoding applies the earliest merge first.
    """
    letters = _byte_symbols()
    tokens = [*letters, *(letter + _WORD_END for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in words:
        pieces = _split(word, merges)
        while len(pieces) > 1:
            merges.append((pieces[0], pieces[1]))
            pieces = [pieces[0] + pieces[1], *pieces[2:]]
            tokens.append(pieces[0])
    vocab = {token: index for index, token in enumerate(dict.fromkeys([*tokens, BOS, EOS]))}
    return vocab, merges


def trained_token_ids(language: Language, vocab: dict[str, int]) -> list[int]:
    """Ids that occur in training captions: the grammar's words, the comma and the two special tokens."""
    return [vocab[word + _WORD_END] for word in dict.fromkeys([*language.grammar, ","])] + [vocab[BOS], vocab[EOS]]


def write_tokenizer(language: Language, folder: Path) -> None:
    """Write the files ``CLIPTokenizer.from_pretrained(folder)`` needs."""
    vocab, merges = build_vocabulary(language.words)
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    special = {"bos_token": BOS, "eos_token": EOS, "pad_token": EOS, "unk_token": EOS}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": language.max_tokens, "do_lower_case": True, **special}
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2), encoding="utf-8")


def _split(word: str, merges: list[tuple[str, str]]) -> list[str]:
    """Byte-pair pieces of ``word``; its last letter carries the end-of-word mark."""
    pieces = [*word[:-1], word[-1] + _WORD_END]
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    while len(pieces) > 1:
        rank, at = min((ranks.get(pair, len(merges)), i) for i, pair in enumerate(zip(pieces, pieces[1:])))
        if rank == len(merges):
            break
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
    return pieces


def _byte_symbols() -> list[str]:
    """The 256 printable stand-ins for bytes used by byte-level tokenizers, so that any text can be encoded."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
