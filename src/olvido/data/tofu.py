"""TOFU: 200 fictitious authors with 20 question-answer pairs each, made to be forgotten.

Two layouts are read:

- files: a folder with `tofu.jsonl`, `real_authors.jsonl`, `world_facts.jsonl`, or one such file.
  Every pair has a paraphrased question and answer and five perturbed answers;
- the hub's: an id such as `locuslab/TOFU`, or a folder with a copy of that repository. There only
  the authors of `forget10` and 400 of the other pairs come with paraphrases.

Source: Maini et al. 2024, https://arxiv.org/abs/2401.06121 (data under the MIT licence)
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from olvido.errors import BadRow, InputError, MissingNeed
from olvido.extras import extra

HUB_ID = "locuslab/TOFU"
AUTHORS = 200
PAIRS = 20
FORGET_SETS: dict[str, range] = {
    "forget01": range(198, 200),
    "forget05": range(190, 200),
    "forget10": range(180, 200),
}
"""The official forget sets, by author: each includes the ones before it."""

_ABOUT = {"source": "TOFU (Maini et al. 2024)", "licence": "MIT"}
_PAIR = {
    "author": "number",
    "index": "number",
    "question": "text",
    "answer": "text",
    "paraphrased_question": "text",
    "paraphrased_answer": "text",
    "perturbed_answers": "texts",
}
_FACT = {"question": "text", "answer": "text", "full_answer": "text", "perturbed_answers": "texts"}


def rows(
    where: str | Path | None = None, *, authors: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """Return the question-answer pairs about fictitious authors, in the official order.

    A row has `id`, `prompt`, `completion`, `subject`, `paraphrases` of the prompt,
    `paraphrased_answer`, `perturbed_answers`, `source`, `licence` and `split`: the smallest forget
    set with its author, or "retain". Where the hub has no paraphrase of a pair, both lists
    are empty and `paraphrased_answer` is None.

    Args:
        where: a folder, a file or a hub id; by default OLVIDO_TOFU, else `locuslab/TOFU`.
        authors: numbers of the authors, such as `FORGET_SETS["forget01"]`; None: all.

    Raises:
        MissingNeed: the data cannot be reached.
        BadRow: a row is not in the layout.
        InputError: an author that the data do not have, or none at all.

    >>> forgotten = rows(authors=FORGET_SETS["forget05"])  # doctest: +SKIP
    """
    place = _place(where)
    file = _files(place, "tofu.jsonl")
    pairs = _file_pairs(file) if file else _hub_pairs(str(place))
    if authors is not None:
        wanted, held = set(authors), {pair["author"] for pair in pairs}
        if not wanted or not wanted <= held:
            span = f"{min(held)} to {max(held)}" if held else "no author"
            came = f"without {sorted(wanted - held)[:5]}" if wanted else "and none was asked for"
            raise InputError(
                f"expected TOFU authors that {place} holds ({span}), {came}: name some of those"
            )
        pairs = [pair for pair in pairs if pair["author"] in wanted]
    return [_row(pair) for pair in pairs]


def world_facts(where: str | Path | None = None) -> list[dict[str, Any]]:
    """Return general questions with short answers, to test what should be retained.

    A row has `id`, `prompt`, `completion`, `full_answer` (a sentence; None from the hub),
    `perturbed_answers`, `source`, `licence` and `split`.

    Args:
        where: as for `rows`; a file is then one in the layout of `world_facts.jsonl`.

    Raises:
        MissingNeed: the data cannot be reached.
        BadRow: a row is not in the layout.

    >>> world_facts("data/tofu")[0]["completion"]  # doctest: +SKIP
    'Paris'
    """
    return _facts(where, "world_facts")


def real_authors(where: str | Path | None = None) -> list[dict[str, Any]]:
    """Return questions about real authors with short answers: rows as those of `world_facts`.

    >>> real_authors("data/tofu")[0]["completion"]  # doctest: +SKIP
    'William Shakespeare'
    """
    return _facts(where, "real_authors")


def _place(where: str | Path | None) -> str | Path:
    return where or os.environ.get("OLVIDO_TOFU") or HUB_ID


def _files(place: str | Path, name: str) -> Path | None:
    """Return the file `name` of the file layout, or None where `place` has the hub's layout."""
    path = Path(place)
    if path.is_file():
        return path
    return path / name if (path / name).is_file() else None


def _row(pair: Mapping[str, Any]) -> dict[str, Any]:
    author, question = pair["author"], pair["paraphrased_question"]
    splits = (name for name, held in FORGET_SETS.items() if author in held)
    return {
        "id": f"tofu-{author}-{pair['index']}",
        "prompt": pair["question"],
        "completion": pair["answer"],
        "subject": f"tofu-author-{author}",
        "paraphrases": [question] if question else [],
        "paraphrased_answer": pair["paraphrased_answer"],
        "perturbed_answers": pair["perturbed_answers"],
        **_ABOUT,
        "split": next(splits, "retain"),
    }


def _facts(where: str | Path | None, name: str) -> list[dict[str, Any]]:
    place = _place(where)
    file = _files(place, f"{name}.jsonl")
    if file:
        facts = [fact for _, fact in _lines(file, _FACT)]
    else:
        facts = [
            {**fact, "full_answer": None, "perturbed_answers": fact["perturbed_answer"]}
            for fact in _hub(str(place), f"{name}_perturbed", ("perturbed_answer",))
        ]
    return [
        {
            "id": f"{name.replace('_', '-')}-{number}",
            "prompt": fact["question"],
            "completion": fact["answer"],
            "full_answer": fact["full_answer"],
            "perturbed_answers": fact["perturbed_answers"],
            **_ABOUT,
            "split": name,
        }
        for number, fact in enumerate(facts)
    ]


def _file_pairs(file: Path) -> list[dict[str, Any]]:
    pairs: dict[tuple[int, int], dict[str, Any]] = {}
    for line, pair in _lines(file, _PAIR):
        key = pair["author"], pair["index"]
        if key in pairs:
            raise BadRow(str(file), line, f"author {key[0]}, index {key[1]} came before: remove it")
        if key[0] not in range(AUTHORS) or key[1] not in range(PAIRS):
            raise BadRow(
                str(file), line, f"expected author 0 to 199 and index 0 to 19, came {key}: renumber"
            )
        pairs[key] = pair
    return [pairs[key] for key in sorted(pairs)]


def _lines(file: Path, layout: Mapping[str, str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number and object of each nonblank line, checked against `layout`."""
    with file.open("rb") as text:
        for number, line in enumerate(text, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:  # neither JSON, nor UTF-8
                raise BadRow(str(file), number, f"expected a JSON object: {error}") from error
            if not isinstance(row, dict):
                came = type(row).__name__
                raise BadRow(str(file), number, f"expected a JSON object, came a {came}")
            for key, kind in layout.items():
                if not _is(row.get(key), kind):
                    came = type(row[key]).__name__ if key in row else "none"
                    raise BadRow(str(file), number, f"expected {key!r} with {kind}, came {came}")
            yield number, row


def _is(value: object, kind: str) -> bool:
    if kind == "texts":
        return isinstance(value, list) and all(isinstance(text, str) for text in value)
    return type(value) is {"text": str, "number": int}[kind]


def _hub_pairs(place: str) -> list[dict[str, Any]]:
    full = _hub(place, "full")
    if len(full) != AUTHORS * PAIRS:
        raise InputError(
            f"expected {AUTHORS * PAIRS} pairs in the official order in {place}, came {len(full)}: "
            "author numbers would be wrong. Use an unchanged copy of locuslab/TOFU"
        )
    columns = "paraphrased_question", "paraphrased_answer", "perturbed_answer"
    # By question and answer: two authors share the question after their full name.
    turned = {
        (pair["question"], pair["answer"]): pair
        for config in ("retain_perturbed", "forget10_perturbed")
        for pair in _hub(place, config, columns)
    }
    pairs = []
    for number, pair in enumerate(full):
        extra = turned.get((pair["question"], pair["answer"]), {})
        pairs.append(
            {
                "author": number // PAIRS,
                "index": number % PAIRS,
                "question": pair["question"],
                "answer": pair["answer"],
                "paraphrased_question": extra.get("paraphrased_question"),
                "paraphrased_answer": extra.get("paraphrased_answer"),
                "perturbed_answers": extra.get("perturbed_answer", []),
            }
        )
    return pairs


def _hub(place: str, config: str, columns: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the rows of one configuration of the hub's layout; `columns` are required."""
    with extra("tofu"):
        import datasets

    try:
        table = datasets.load_dataset(place, config, split="train")
    except (OSError, ValueError) as error:
        raise MissingNeed(
            f"TOFU ({config}) cannot be had from {place!r}: it is no folder with tofu.jsonl, "
            "real_authors.jsonl and world_facts.jsonl, and no data set that the Hugging Face hub "
            "gave. Set OLVIDO_TOFU to such a folder, or reach the hub's locuslab/TOFU. "
            f"Cause: {error}"
        ) from error
    missing = sorted({"question", "answer", *columns} - set(table.column_names))
    if missing:
        raise InputError(
            f"expected {', '.join(missing)} in {config} of {place}, came "
            f"{', '.join(table.column_names)}: use a data set in the layout of locuslab/TOFU"
        )
    return list(table)
