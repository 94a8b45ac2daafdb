"""A language model of random weights, small enough to be made and served in a moment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

WORDS, BYTES = 512, 256
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
"""Kinds of tokens, by the number that GGUF gives them."""


@dataclass(frozen=True)
class Size:
    """The shape of a model: dense, with grouped attention, at 32 bit."""

    layers: int = 2
    width: int = 64
    heads: int = 4
    kv_heads: int = 2
    inner: int = 128

    @property
    def head_size(self) -> int:
        return self.width // self.heads

    @property
    def params(self) -> int:
        return sum(int(np.prod(shape)) for shape in _shapes(self).values())


TINY = Size()


def write_tiny_model(path: Path, *, context_tokens: int = 4096, size: Size = TINY) -> None:
    """Write a GGUF file of a Llama with random weights and a vocabulary of bytes and some words.

    Raises
    ------
    ImportError
        The package gguf is not installed.
    """
    import gguf

    draw = np.random.default_rng(7)
    file = gguf.GGUFWriter(path, "llama")
    file.add_name("random")
    file.add_context_length(context_tokens)
    file.add_embedding_length(size.width)
    file.add_block_count(size.layers)
    file.add_feed_forward_length(size.inner)
    file.add_head_count(size.heads)
    file.add_head_count_kv(size.kv_heads)
    file.add_rope_dimension_count(size.head_size)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_vocab_size(WORDS)
    file.add_file_type(0)
    _add_vocabulary(file)
    for name, shape in _shapes(size).items():
        values = np.ones(shape) if len(shape) == 1 else draw.standard_normal(shape) * 0.02
        file.add_tensor(name, values.astype(np.float32))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def _add_vocabulary(file) -> None:
    special = [b"<unk>", b"<s>", b"</s>"]
    of_bytes = [f"<0x{value:02X}>".encode() for value in range(BYTES)]
    words = [f"\u2581w{number}".encode() for number in range(WORDS - BYTES - len(special))]
    file.add_tokenizer_model("llama")
    file.add_token_list([*special, *of_bytes, *words])
    file.add_token_scores([0.0] * len(special) + [-1.0] * BYTES + [-float(rank) for rank in range(len(words))])
    file.add_token_types([UNKNOWN, CONTROL, CONTROL] + [BYTE] * BYTES + [NORMAL] * len(words))
    file.add_unk_token_id(0)
    file.add_bos_token_id(1)
    file.add_eos_token_id(2)
    file.add_add_bos_token(True)


def _shapes(size: Size) -> dict[str, tuple[int, ...]]:
    kv_width = size.head_size * size.kv_heads
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (WORDS, size.width),
        "output.weight": (WORDS, size.width),
        "output_norm.weight": (size.width,),
    }
    for layer in range(size.layers):
        shapes |= {
            f"blk.{layer}.attn_norm.weight": (size.width,),
            f"blk.{layer}.ffn_norm.weight": (size.width,),
            f"blk.{layer}.attn_q.weight": (size.width, size.width),
            f"blk.{layer}.attn_k.weight": (kv_width, size.width),
            f"blk.{layer}.attn_v.weight": (kv_width, size.width),
            f"blk.{layer}.attn_output.weight": (size.width, size.width),
            f"blk.{layer}.ffn_gate.weight": (size.inner, size.width),
            f"blk.{layer}.ffn_up.weight": (size.inner, size.width),
            f"blk.{layer}.ffn_down.weight": (size.width, size.inner),
        }
    return shapes
