"""A Llama-shaped model of about a million parameters, made from a seed: for tests and the demo."""

from __future__ import annotations

from importlib import resources
from typing import Any

import torch

MAX_TOKENS = 256


def tiny_tokenizer() -> Any:
    """The tokenizer of `tiny`: a fixed list of words, single letters, and bytes for the rest.

    It is fixed in `words.txt` and never learned from data, so it cannot memorise anybody.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = resources.files("olvido.models").joinpath("words.txt").read_text("utf-8").split()
    pieces = [("<pad>", 0.0), ("<eos>", 0.0), ("<bos>", 0.0), ("<unk>", 0.0)]
    pieces += [(f"<0x{byte:02X}>", -30.0) for byte in range(256)]
    # A whole word beats its letters, and letters beat bytes, whatever their number.
    pieces += [(f"▁{word}", -1.0) for word in words]
    letters = sorted({letter for word in words for letter in word} | set("▁.,;:?!'-()/"))
    known = {piece for piece, _ in pieces}
    pieces += [(letter, -10.0) for letter in letters if letter not in known]
    inner = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=True))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    inner.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    from tokenizers.processors import TemplateProcessing

    inner.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        model_max_length=MAX_TOKENS,
    )


def tiny_model(vocabulary: int, *, seed: int, width: int = 128, layers: int = 4) -> Any:
    """A fresh model with random weights drawn from `seed`.

    Args:
        vocabulary: number of tokens.
        seed: same seed, same weights; the caller's random state is not changed.
        width: hidden size, a multiple of 32.
        layers: number of transformer blocks.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 32,
        max_position_embeddings=MAX_TOKENS,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
        # Three times the usual spread: at this width, names become distinguishable in a quarter of
        # the epochs that 0.02 takes.
        initializer_range=0.06,
        attn_implementation="sdpa",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)
