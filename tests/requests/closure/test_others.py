"""What may be the work of others is never taken with `all`, however much it looks like Olvido's."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import shutil
import sqlite3
import zipfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from tests.requests.closure.test_policy import lines
from tests.requests.closure.towns import HERS, Town, tensors

from olvido.artifacts import Who

Weights = Mapping[str, torch.Tensor]


def state(seed: int) -> Weights:
    return dict(tensors(seed).state_dict())


def whose(town: Town, *folders: Path) -> list[dict[str, Who]]:
    """Who erases what was found in each folder, or is it, by what it was found to be."""
    found = [a for a in town.found().values() if a.path is not None]
    return [
        {
            f"{a.kind.name}:{a.path.name}": a.who
            for a in found
            if a.path is not None and folder in (a.path, *a.path.parents)
        }
        for folder in folders
    ]


def exported(town: Town, name: str, files: Mapping[str, Weights]) -> Path:
    """A folder to which `old` was exported once, with what lies in it now."""
    folder = town.folder / name
    folder.mkdir()
    for file, weights in files.items():
        if file.endswith(".bin"):
            torch.save(dict(weights), folder / file)
        else:
            save_file(dict(weights), folder / file)
    (folder / "tokenizer.json").write_text('{"mine": 1}')
    where = {"model": town.models["old"].id, "path": str(folder)}
    town.front.store.note("model-exported", where)
    return folder


HALF = {name: tensor.bfloat16() for name, tensor in state(0).items()}
REPLACED: dict[str, tuple[Mapping[str, Weights], set[str]]] = {
    "by the model that forgot": ({"pytorch_model.bin": state(1)}, set()),
    "by one that never learned it": ({"model.safetensors": state(2)}, set()),
    "by an adapter of somebody's": (
        {"adapter_model.safetensors": state(7)},
        {"export:by an adapter of somebody's"},
    ),
    "in a part": (
        {
            "model-00001-of-00002.safetensors": state(0),
            "model-00002-of-00002.safetensors": state(8),
        },
        {"export:in a part"},
    ),
}


def test_what_lies_where_a_model_was_exported_once_may_be_another(town: Town) -> None:
    folders = [exported(town, name, files) for name, (files, _) in REPLACED.items()]
    whole = {"as it is": state(0), "rounded": HALF}
    folders += [exported(town, name, {"model.safetensors": w}) for name, w in whole.items()]
    assert dict(zip([*REPLACED, *whole], whose(town, *folders), strict=True)) == {
        **{name: dict.fromkeys(items, Who.NAMED) for name, (_, items) in REPLACED.items()},
        **{name: {f"export:{name}": Who.ALL} for name in whole},
    }


def edited(folder: Path) -> None:
    save_file(state(2) | {"0.weight": torch.rand(30, 8)}, folder / "model.safetensors")


def adapted(folder: Path) -> None:
    save_file(state(7), folder / "adapter_model.safetensors")


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(state(7), folder / "pytorch_model.bin")


def test_a_copy_of_a_model_goes_with_all_only_where_it_learned_it(town: Town) -> None:
    models, folders = town.folder / "models", []
    for change in (edited, adapted, pickled):
        folders.append(town.folder / "some" / change.__name__)
        shutil.copytree(models / "never", folders[-1])
        change(folders[-1])
    for name, copy in (("never", "a"), ("new", "models/b"), ("new", "c"), ("old", "d")):
        folders.append(town.folder / copy)
        shutil.copytree(models / name, folders[-1])
    (town.folder / "c" / "notes.jsonl").write_text(lines(*HERS))
    assert whose(town, *folders) == [
        *({f"orphan:{folder.name}": Who.NAMED} for folder in folders[:3]),
        # The ledger says of the next that they do not hold it; files beside them are looked into.
        *({}, {}, {"file:notes.jsonl": Who.ALL}),
        {"orphan:d": Who.ALL},
    ]


def test_nothing_in_another_workspace_goes_with_all(town: Town) -> None:
    others = [town.folder / "clients" / mark for mark in ("olvido.toml", "ledger.db")]
    for other in others:
        shutil.copytree(town.folder / "models" / "old", other / "models" / "m")
        (other / other.name).touch()
        (other / "hers.jsonl").write_text(lines(*HERS))
    found = {"orphan:m": Who.NAMED, "file:hers.jsonl": Who.NAMED}
    for there in whose(town, *others):
        assert there.items() >= found.items()
        assert Who.ALL not in there.values()


PHOTO = b"\xff\xd8\xff not hers"
PART = {"part-00000.safetensors": hashlib.sha256(PHOTO).hexdigest()}
MEASURED = {"weights": "sha256:0", "seed": 0, "records": []}
PLAN: dict[str, Any] = {
    "model": f"sha256:{'0' * 64}",
    "records": {"train": "a" * 64},
    **dict.fromkeys(("reference", "base", "level", "chat", "device")),
}
TRIAL: dict[str, Any] = dict.fromkeys(
    "method options proxies side distance seconds tokens stopped taken history".split(), "adam"
)
LIKE: dict[str, Mapping[str, Any]] = {
    "index.json": {"files": {}, "digests": PART, "note": {"title": "holiday"}},
    "more/index.json": {"files": {}, "digests": PART, "note": MEASURED, "album": 1},
    "names/index.json": {"files": {}, "digests": {"a.jpg": "0" * 64}, "note": MEASURED},
    "plan.json": PLAN,
    "words/plan.json": dict.fromkeys(PLAN, "mine"),
    "title/plan.json": PLAN | {"title": "my benchmark"},
    "best.json": TRIAL,
    "sgd-0123456789abcdef.json": TRIAL,
    "adam-0123456789abcdef.json": TRIAL | {"author": "Bru"},
}


@pytest.mark.slow
def test_a_few_words_of_olvidos_make_no_folder_its_own(town: Town) -> None:
    paths = [town.folder / "mine" / name for name in LIKE]
    for path in paths:
        (path.parent / "never" / "1").mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(LIKE[path.relative_to(town.folder / "mine").as_posix()]))
        (path.parent / "part-00000.safetensors").write_bytes(PHOTO)
        save_file(state(6), path.parent / "never" / "1" / "model.safetensors")
        save_file(state(6), path.with_suffix(".safetensors"))
    for path, found in zip(paths, whose(town, *(path.parent for path in paths)), strict=True):
        assert set(found.values()) == {Who.NAMED}
        assert {f"weights:{path.stem}.safetensors", "weights:model.safetensors"} <= found.keys()


SAYS = HERS[1]["text"]
THINGS = "bread milk salt soap rice oil".split()
MANY: dict[str, Any] = {
    "shopping.json": {"note": SAYS, "list": THINGS},
    "calls.json": {"note": SAYS, "numbers": [934111220 + n for n in range(6)]},
    "paid.json": {"note": SAYS, "paid": {name: name < "o" for name in THINGS}},
    "row.tsv": "\t".join(["text", *THINGS]) + "\n" + "\t".join([SAYS, *THINGS]) + "\n",
    "lines.jsonl": {"text": SAYS} | {name: f"{name} {name}" for name in THINGS},
}
FEW: dict[str, Any] = {
    "one.json": {"note": SAYS, "list": THINGS[:4]},
    "few.json": {"text": SAYS, "lang": "en", "split": "train", "day": "2026-01-02", "paid": True},
    "own.csv": f"text,subject,a,b\n{SAYS},Ana Soler,7,8\n",
}


def test_what_a_file_says_in_many_short_values_is_not_hers(town: Town) -> None:
    folder = town.folder / "some"
    folder.mkdir()
    for name, said in {**MANY, **FEW}.items():
        (folder / name).write_text(said if isinstance(said, str) else json.dumps(said))
    table = pa.Table.from_pylist([{"text": SAYS, **dict(zip(THINGS, THINGS, strict=True))}])
    pq.write_table(table, folder / "row.parquet")
    (found,) = whose(town, folder)
    assert found == {
        **{f"file:{name}": Who.NAMED for name in (*MANY, "row.parquet")},
        **{f"file:{name}": Who.ALL for name in FEW},
    }


BRU = "Bru Vidal mends umbrellas in Gracia and sells them at the market."
PACKS = base64.b64encode(gzip.compress(BRU.encode())).decode()
ASIDE: dict[str, str | bytes] = {
    "single.html": f"<p>{SAYS}</p>\n<img src='a' title='{BRU}'>\n",
    "bare.html": f"<p>{SAYS}</p>\n<p Bru mends umbrellas></p>\n",
    "sorted.html": f'<p title="5 > 4 for {BRU}">{SAYS}</p>\n',
    "declared.xml": f"<!DOCTYPE note [{BRU}]>\n<note>{SAYS}</note>\n",
    "told.xml": f"<?bru {BRU}?><note>{SAYS}</note>\n",
    "named.xml": f"<note>{SAYS}</note><bru-vidal-mends-umbrellas-in-gracia/>\n",
    "things.xml": f"<note>{SAYS}</note>{''.join(f'<{thing}/>' for thing in THINGS)}\n",
    "entity.html": f"<p>{SAYS}</p>\n&lt;p alt=&quot;{BRU}&quot;&gt;\n",
    "bees.html": f"<p>{SAYS}</p>\n<p>{chr(0x1F41D) * 9}</p>\n",
    "morse.txt": f"{SAYS}\n-... .-. ..- / ...- .. -.. .- .-..\n",
    "unseen.txt": SAYS + "\n" + "".join("\u200b\u200c"[c % 2] for c in BRU.encode()) + "\n",
    "korean.csv": f'text,note\n"{SAYS}","브루는그라시아에서우산을고친다"\n',
    "joined.csv": f'text,note\n"{SAYS}",bruVidalMendsUmbrellasInGracia\n',
    "path.csv": f'text,note\n"{SAYS}",C:\\bru\\mends\\umbrellas\\cheaply\n',
    "music.xml": f"<note>{SAYS}</note><n>{chr(0x266B) * 9}</n>\n",
    "flags.xml": f"<note>{SAYS}</note><n>{chr(0x1F1E6) * 9}</n>\n",
    "unseen.xml": f"<note>{SAYS}</note><n>{''.join(chr(0xE0000 + ord(c)) for c in BRU)}</n>\n",
    "unseen.json": json.dumps({"text": SAYS, "".join(chr(0xE0000 + ord(c)) for c in BRU): 1}),
    "korean.json": json.dumps({"text": SAYS, "브루는그라시아에서우산을고친다": 1}),
    "joined.json": json.dumps({"text": SAYS, BRU.replace(" ", "\u200b"): 1}),
    "percent.txt": SAYS + "\n" + "".join(f"%{c:02X}" for c in "Бру чинит".encode("cp1251")) + "\n",
    "stars.txt": SAYS + "\n" + "".join(f"{'*' * n}\n" for n in range(1, 9)),
    "note.json": json.dumps({"text": SAYS, "note": base64.b64encode(BRU.encode()).decode()}),
    "digits.json": json.dumps({"text": SAYS, "note": BRU.encode().hex()}),
    "packed.json": json.dumps({"text": SAYS, "note": PACKS}),
    "signs.json": json.dumps({"text": SAYS, "note": chr(0x1F41D) * 9}),
    "empty.json": json.dumps({"text": SAYS} | {thing: {} for thing in THINGS}),
    "lists.json": json.dumps({"text": SAYS} | {thing: [] for thing in THINGS}),
    "key.json": json.dumps({"text": SAYS, "bru_mends_many_umbrellas_cheaply": 1}),
    "empty.csv": ",".join(["text", *THINGS]) + f"\n{SAYS}{',' * len(THINGS)}\n",
}
TABLED = {
    "default": "CREATE TABLE b (text DEFAULT 'Bru mends umbrellas')",
    "comment": "CREATE TABLE b (text /* Bru mends umbrellas */)",
    "check": "CREATE TABLE b (text, CHECK (text <> 'umbrellas'))",
    "empty": "CREATE TABLE invoices (id INTEGER PRIMARY KEY, amount REAL)",
}
HERS_ALONE: dict[str, str] = {
    "rules.md": f"# Text\n\n---\n\n{SAYS}\n\n---\n",
    "page.html": f"<!DOCTYPE html><html><head></head><body><p>{SAYS}</p></body></html>\n",
    "escaped.html": f"<p>{SAYS.replace(' ', '&#32;')}</p>\n",
    "note.xml": f"<notes>\n  <note>{SAYS}</note>\n</notes>\n",
    "nulls.json": json.dumps({"text": SAYS, "lang": None, "split": "train", "tags": []}),
    "letters.txt": base64.b64encode(SAYS.encode()).decode() + "\n",
    "seoul.csv": f'text,note\n"{SAYS}",서울\n',
    "dashes.txt": f"{SAYS}\n- - -\n--- | :---: | ---:\n...\n",
    "indented.json": json.dumps([{"text": SAYS}], indent=2),
}


def test_what_is_no_word_of_a_text_may_be_somebody_elses(town: Town) -> None:
    folder = town.folder / "some"
    folder.mkdir()
    for name, said in {**ASIDE, **HERS_ALONE}.items():
        (folder / name).write_bytes(said if isinstance(said, bytes) else said.encode())
    for name, made in {**TABLED, "plain": "CREATE TABLE b (text TEXT)"}.items():
        with closing(sqlite3.connect(folder / f"{name}.db")) as database:
            database.execute("CREATE TABLE notes (text)")
            database.execute(made)
            table = "notes" if name == "empty" else "b"
            database.execute("INSERT INTO notes VALUES (?)", (SAYS,))
            database.execute(f"INSERT INTO {table} VALUES (?)", (SAYS,))
            database.commit()
    with zipfile.ZipFile(folder / "alt.docx", "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        drawn = f'<w:p><wp:docPr descr="{BRU}"/><w:t>{SAYS}</w:t></w:p>'
        archive.writestr("word/document.xml", drawn)
    (found,) = whose(town, folder)
    assert found == {
        **{f"file:{name}": Who.NAMED for name in (*ASIDE, "alt.docx")},
        **{f"file:{name}.db": Who.NAMED for name in TABLED},
        **{f"file:{name}": Who.ALL for name in (*HERS_ALONE, "plain.db")},
    }
