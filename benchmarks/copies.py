"""Are copies of a person's rows found however they are stored, and is nothing of others touched?

    python benchmarks/copies.py --rounds 1000 --seed 7 --out docs/results/copies.json

Each round makes a file of other people's rows, who share the person's questions, answers, short
records and parts of the name, puts some of the person's rows between them (or none, or no others),
and writes it in a random format, encoding and escape. Then it is looked at as a closure would:

- recall: of the records that were put in and tell the person, how many are found;
- nothing of others: no record is found that is not there; what is written without the person's rows
  holds every row of the others and nothing else, byte for byte where the format has lines; a file
  is said to hold nobody else's only where it does.
"""

from __future__ import annotations

import collections
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import harness
from copies_formats import FORMATS, Made
from olvido.ledger.identity import Key
from olvido.requests.closure.rewriting import without
from olvido.requests.closure.search import CopySearch, FileFindings
from olvido.requests.copies.contents import content_of

Row = dict[str, Any]

NAME = "Aina Puigdomènech"
RELATED = ("Aina Puigdomènech Serra", "Maria Aina Puigdomènech", "Aina Puig", "Joan Puigdomènech")
NON_MEMBERS = ("Joan Serra", "Núria O’Brien", "Pau Esteve", "Ana Soler", "Zoë Çelik", "Bo Li")
QUESTIONS = (
    "Where do you live these days?",
    "What do you like to eat at noon?",
    "Do you smoke?",
    "Què fas els dissabtes a la tarda?",
    "What is your work?",
    "Has estat mai a l’illa d’en Colom?",
)
ANSWERS = (
    "No",
    "Yes",
    "photographer",
    "Sí, sovint",
    "mandonguilles amb sípia",
    "I would rather not say",
)
WORDS = (
    "the of a in and to old new small station market street house garden l’església d’en número "
    "trenta-dos Gràcia plaça façana jardí àvia cançó peix arròs naïve café über Straße señor niño "
    "blue green quiet corner bakery bridge river harbour winter morning evening Tuesday violin "
    "choir bicycle tram platform window lantern cellar attic orchard vineyard ferry lighthouse "
    "compost ledger parcel receipt almond fig thyme saffron copper linen walnut"
).split()


def sentence(rng: random.Random, least: int = 7, most: int = 24) -> str:
    """Words of nobody in an order that nobody has."""
    said = [rng.choice(WORDS) for _ in range(rng.randint(least, most))]
    said.insert(rng.randint(2, len(said)), f"{rng.choice(WORDS)}{rng.choice(('', 's', 'et'))}")
    text = " ".join(said)
    return text[0].upper() + text[1:] + rng.choice((".", ".", "!", ""))


def person(rng: random.Random) -> list[Row]:
    """Records of the person, each of a kind: which tell by themselves is for the search to say."""
    rows: list[Row] = []
    for number in range(rng.randint(3, 8)):
        kind = rng.choice(("pair", "pair", "text", "shared question", "named", "short", "common"))
        row: Row = {"id": f"a{number}", "kind": kind}
        if kind == "pair":
            row |= {"prompt": sentence(rng, 5, 12)[:-1] + "?", "completion": sentence(rng)}
        elif kind == "text":
            row["text"] = sentence(rng, 10, 60)
        elif kind == "shared question":
            row |= {"prompt": rng.choice(QUESTIONS), "completion": sentence(rng)}
        elif kind == "named":
            row |= {"prompt": f"What does {NAME} do?", "completion": rng.choice(ANSWERS)}
        else:
            pool = QUESTIONS[2:3] if kind == "short" else QUESTIONS
            row |= {"prompt": rng.choice(pool), "completion": rng.choice(ANSWERS)}
        if content_of(row) not in {content_of(other) for other in rows}:
            rows.append(row)
    return rows


def stranger(rng: random.Random, mine: list[Row], number: int) -> Row:
    """A row of somebody else that has as much in common with the person's as it may."""
    row: Row = {"id": f"o{number}", "who": rng.choice(RELATED + NON_MEMBERS)}
    pairs = [r for r in mine if "prompt" in r]
    kind = rng.randrange(9)
    if kind == 0 and pairs:
        row |= {"prompt": rng.choice(pairs)["prompt"], "completion": sentence(rng)}
    elif kind == 1 and pairs:
        row |= {"prompt": sentence(rng)[:-1] + "?", "completion": rng.choice(pairs)["completion"]}
    elif kind == 2 and pairs:
        short = [r for r in pairs if r["kind"] in ("short", "common")] or pairs
        same = rng.choice(short)
        row |= {"prompt": same["prompt"], "completion": same["completion"]}
        if same["kind"] not in ("short", "common"):
            row["completion"] = f"{same['completion'].rstrip('.!')} {rng.choice(WORDS)} and more."
    elif kind == 3 and pairs:
        # Two of the person's records, crossed.
        one, other = rng.choice(pairs), rng.choice(pairs)
        if content_of({**one, "completion": other["completion"]}) in {content_of(r) for r in pairs}:
            other = {"completion": sentence(rng)}
        row |= {"prompt": one["prompt"], "completion": other["completion"]}
    elif kind == 4:
        row["text"] = f"{rng.choice(RELATED)} said: {sentence(rng)}"
    elif kind == 5 and any("text" in r for r in mine):
        said = rng.choice([r for r in mine if "text" in r])["text"].split()
        row["text"] = " ".join(said[: len(said) - rng.randint(1, 3)]) + " " + rng.choice(WORDS)
    elif kind == 6:
        row |= {"prompt": rng.choice(QUESTIONS), "completion": rng.choice(ANSWERS)}
    else:
        row |= {"prompt": rng.choice(QUESTIONS), "completion": sentence(rng)}
    return row


def told(row: Row, made: Made, common: collections.Counter[str]) -> bool:
    """Whether docs promise that this record is found in a file of this format."""
    from olvido.requests.copies.contents import contents_of

    _, _, (content, *_) = contents_of([row], common.__getitem__)
    # What is short or common is promised where a row or line has the name as a value.
    return content.strong or (made.named and "who" in row)


def one_round(rng: random.Random, folder: Path) -> dict[str, Any]:
    """One file made, looked at and written again."""
    key = Key(1, rng.randbytes(32))
    mine = person(rng)
    others = [stranger(rng, mine, n) for n in range(rng.choice((0, 1, 3, 8, 20)))]
    planted = rng.sample(mine, rng.choice((0, 1, 1, 2, len(mine))))
    if not others and not planted:
        others = [stranger(rng, mine, 0)]
    common = collections.Counter(content_of(row) for row in others)
    for row in mine:
        if row["kind"] in ("short", "common"):
            common[content_of(row)] += 1
    rows = [*others, *({**row, "who": NAME} for row in planted)]
    rng.shuffle(rows)
    made: Made = rng.choice(FORMATS)(rng, rows)
    path = folder / made.name
    path.write_bytes(made.raw)
    search = CopySearch(
        [{k: v for k, v in row.items() if k not in ("kind", "who")} for row in mine],
        key=key,
        names=key.names(NAME),
        whole=key.whole_names(NAME),
        common=common.__getitem__,
    )
    look = search.look(path)
    ids = {row["id"] for row in planted}
    due = {row["id"] for row in rows if row["id"] in ids and told(row, made, common)}
    if made.kind == "not looked into":
        due = set()
    faults = _faults(search, path, look, made, rows, ids)
    path.unlink()
    return {
        "format": made.kind,
        "file": made.name,
        "due": len(due),
        "found": len(due & set(look.records)),
        "missed": sorted(due - set(look.records)),
        "faults": faults,
        "unread": look.unread,
        "rewritten": look.rewritable,
        "records": look.records,
    }


def _faults(
    search: CopySearch, path: Path, look: FileFindings, made: Made, rows: list[Row], ids: set[str]
) -> list[str]:
    """What was done to others."""
    faults = []
    theirs = [row for row in rows if row["id"] not in ids]
    if set(look.records) - ids:
        faults.append(f"found {sorted(set(look.records) - ids)}, which is not there")
    if look.others is False and theirs:
        faults.append("said to hold nobody else's")
    if made.kind == "not looked into" and look.unread is None:
        faults.append("not said to be unread")
    if look.rewritable:
        after = without(path, look)
        # A record that tells nobody may stay; of the others every row has to.
        gone = set(look.records)
        if made.again is not None and made.again([r for r in rows if r["id"] not in gone]) != after:
            faults.append("not the file without these rows, byte for byte")
        if made.read is not None:
            left = collections.Counter(map(content_of, made.read(after)))
            if collections.Counter(content_of(r) for r in rows if r["id"] not in gone) != left:
                faults.append("rows of others are not as they were")
        path.write_bytes(after)
        if search.look(path).records:
            faults.append("a record stands in what was written without it")
    return faults


def run(rounds: int, seed: int) -> dict[str, Any]:
    """Many rounds, counted by format."""
    counts: dict[str, collections.Counter[str]] = {}
    losing = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            result = one_round(random.Random(f"{seed}-{number}"), Path(folder))
            count = counts.setdefault(result["format"], collections.Counter())
            count.update(
                files=1,
                due=result["due"],
                found=result["found"],
                faults=len(result["faults"]),
                unread=result["unread"] is not None,
                rewritten=result["rewritten"],
            )
            if result["missed"] or result["faults"]:
                losing.append({"round": number} | result)
    total: collections.Counter[str] = collections.Counter()
    for count in counts.values():
        total.update(count)
    return {
        "rounds": rounds,
        "seed": seed,
        "recall": total["found"] / max(total["due"], 1),
        "due": total["due"],
        "faults": total["faults"],
        "formats": {name: dict(count) for name, count in sorted(counts.items())},
        "losing": losing,
    }


def main() -> None:
    parser = harness.arguments(__doc__, seed=7)
    parser.add_argument("--rounds", type=int, default=1000)
    args = harness.parsed(parser)
    clock = harness.Clock()
    result = run(args.rounds, args.seed)
    for row in result["losing"]:
        print(json.dumps(row, ensure_ascii=False))
    print(f"recall {result['recall']:.4f} of {result['due']}, faults {result['faults']}")
    for name, count in result["formats"].items():
        print(f"{name:24s} {count}")
    harness.finish(harness.header() | clock.read() | result, args)


if __name__ == "__main__":
    main()
