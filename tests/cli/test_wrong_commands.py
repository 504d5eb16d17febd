"""What is typed wrong is told in one line, in the words of the command line, and changes nothing.

One workspace is made for all and must be as it was after every row of the tables: wrong files,
names, numbers, days, ids, options that do not go together, places that cannot be, and workspaces
that are damaged or somebody else's.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from string import Template

import pytest
from tests.cli.conftest import VARIABLES, _contents, _made
from tests.cli.test_contract import COMMANDS

from olvido.cli import run

Said = tuple[int, str, str]

LONG, MANY = "x" * 5_000, "9" * 20
_FORGET = "--forget good.jsonl --retain other.jsonl --out o"
SHORT = {
    "LONG": LONG,
    "MANY": MANY,
    "FORGET": _FORGET,
    "AUDIT": "audit small --forget good.jsonl",
    "TRAINED": "--base small --keep k --retain other.jsonl",
    "COMPARE": f"compare small {_FORGET} --base small --methods ascent",
    "LEARNERS": "compare small --records good.jsonl --holdout other.jsonl --out o --learners",
    "NAMED": "--subject 'Ana Soler'",
}
"""What `$NAME` stands for in the table."""

WRONG = (Path(__file__).parent / "wrong_commands.txt").read_text(encoding="utf-8")
"""Lines as they are typed, apart from their escapes; BUSY is a port that somebody listens on."""

ANSWERED_NO = """
certificate verify forged.json
certificate verify forged.json --key theirs/olvido-signing.pub
data check --head sha256:0000000000000000000000000000000000000000000000000000000000000000
"""
"""What is asked well, and the answer is no."""

PYTHON = re.compile(
    r"Traceback|NoneType|\[Errno|object at 0x|<class|<function|dict_keys|\bin Python\b"
    r"|\b(?:retain|holdout|neighbours|general|reference|forget|model|records|out)=|\bself\b"
    r"|PosixPath|\.unfinished|\bNone\b|\bexcept(?:ion)?\b|Error\("
)
"""Words of the language that Olvido happens to be written in, and names of its own files."""


def words_of(line: str) -> list[str]:
    """What is typed, short names and escapes read."""
    words = shlex.split(Template(line).substitute(SHORT))
    return [re.sub(r"\\(0|n|u\w{4})", _read, word) for word in words]


def _read(escape: re.Match[str]) -> str:
    return escape[0].encode().decode("unicode_escape")


def lines_of(table: str) -> list[str]:
    return [line for line in table.splitlines() if line]


def name_of(words: list[str]) -> str:
    """The command that a line means: the longest that its words begin with."""
    said = [word for word in words if "=" not in word or " " in word]
    for count in (2, 1):
        if " ".join(said[:count]) in COMMANDS:
            return " ".join(said[:count])
    return ""


def _fill(folder: Path) -> None:
    """Files that are right, and files that are not."""
    from olvido.models import save
    from olvido.models.tiny import tiny_model, tiny_tokenizer

    people = (("1", "Ana sings.", "Ana Soler"), ("2", "Joan paints.", "Joan Puig"))
    rows = [{"id": i, "text": text, "subject": who} for i, text, who in people]
    texts = {
        "good.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "other.jsonl": '{"text": "The sky is blue."}\n',
        "empty.jsonl": "",
        "asked.csv": "subject,law\nAna Soler,gdpr\nJoan Puig,gpdr\n",
        "cut.jsonl": '{"text": "x"',
        "number.json": "7",
        "list.json": "[1]",
        "nan.jsonl": '{"text": "x", "n": NaN}\n',
        "twice.jsonl": '{"id": 1, "text": "x"}\n{"id": "1", "text": "y"}\n',
        "forged.json": json.dumps(
            {"payloadType": "application/vnd.in-toto+json", "payload": "e30=", "signatures": []}
        ),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    binary = bytes(range(256)) * 4
    for name in ("binary.jsonl", "binary.parquet", "binary.csv"):
        (folder / name).write_bytes(binary)
    for name in ("sheet.xlsx", "packed.csv.gz"):
        (folder / name).write_bytes(b"PK\x03\x04" + binary)
    (folder / "latin.csv").write_bytes(b"text\nN\xfaria\n")
    (folder / "wide.csv").write_bytes("text\nx\n".encode("utf-16"))
    (folder / "folder").mkdir()
    configured = {
        "encoder": {"model_type": "bert", "architectures": ["BertForSequenceClassification"]},
        "translator": {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]},
        "weightless": {"model_type": "llama", "architectures": ["LlamaForCausalLM"]},
    }
    for name, config in configured.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(config))
    (folder / "broken").mkdir()
    (folder / "broken" / "config.json").write_text('{"model_type"')
    (folder / "adapter").mkdir()
    adapter = {"peft_type": "LORA", "base_model_name_or_path": "./gone"}
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(adapter))
    tokenizer = tiny_tokenizer()
    save(tiny_model(len(tokenizer), seed=0, width=32, layers=1), tokenizer, folder / "small")
    shutil.copytree(folder / "small", folder / "other-words")
    file = folder / "other-words" / "tokenizer.json"
    file.write_text(file.read_text().replace('"the"', '"thx"'))


def _damage(theirs: Path, key: Path) -> None:
    """Copies of a workspace, each with a fault of its own."""
    beside = theirs.parent

    def copy(name: str) -> Path:
        return Path(shutil.copytree(theirs, beside / name))

    (copy("keyless") / "olvido.key").unlink()
    shutil.copy(key, copy("strange") / "olvido.key")
    short = copy("shortened") / "olvido.key"
    short.write_bytes(short.read_bytes()[:20])
    ledger = copy("cut") / "ledger.db"
    ledger.write_bytes(ledger.read_bytes()[:10_000])
    (copy("emptied") / "ledger.db").write_bytes(b"")
    (copy("unfinished") / "ledger.db").unlink()
    (copy("odd-settings") / "olvido.toml").write_text('devise = "cpu"\n')
    (copy("odd-value") / "olvido.toml").write_text("threads = -1\n")
    (copy("odd-day") / "olvido.toml").write_text('holidays = ["31/12"]\n')
    (copy("odd-tokens") / "tokens.json").write_text("[")


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with two datasets, a model and four requests, and a table of wrong things."""
    folder = tmp_path_factory.mktemp("standing")
    with pytest.MonkeyPatch.context() as patch:
        for variable in VARIABLES:
            patch.delenv(variable, raising=False)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.chdir(folder)
        _fill(folder)
        _made("init")
        _made("data", "add", "good.jsonl", "--name", "people")
        _made("data", "add", "other.jsonl", "--name", "city")
        _made("learn", "people", "--model", "small", "--epochs", "1")
        _made("token", "new", "--role", "privacy", "--label", "Marta")
        _made("request", "new", "--subject", "Ana Soler", "--law", "gdpr")
        _made("request", "new", "--subject", "Joan Puig", "--law", "gdpr")
        _made("request", "new", "--kind", "access", "--subject", "Ana Soler", "--law", "gdpr")
        wrong = ("--kind", "rectification", "--dataset", "people", "--record", "1")
        _made("request", "new", *wrong, "--subject", "Ana Soler")
        _made("request", "refuse", "req-0002", "--why", "not who they say")
        _made("init", "theirs")
        their = ("--workspace", "theirs")
        _made(*their, "data", "add", "good.jsonl", "--name", "people")
        _made(*their, "log", "sign", "--out", "theirs/head.txt")
        _made(*their, "data", "tombstones", "theirs/buried.json")
        _damage(folder / "theirs", folder / "olvido.key")
        yield folder


@pytest.fixture(scope="module")
def known(standing: Path) -> dict[str, str]:
    """What lies there; of one wrong command after the other."""
    return _contents(standing)


@pytest.fixture
def said(
    standing: Path,
    known: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[[str], Said]:
    """Types a line; gives status, standard output and standard error; nothing has changed."""

    def call(line: str) -> Said:
        words = words_of(line)
        while words and re.match(r"OLVIDO_\w+=", words[0]):
            variable, _, value = words.pop(0).partition("=")
            monkeypatch.setenv(variable, value)
        with socket.socket() as listening:
            if "BUSY" in words:
                listening.bind(("127.0.0.1", 0))
                listening.listen()
                words[words.index("BUSY")] = str(listening.getsockname()[1])
            since = time.process_time()
            status = run([*words, "--json"])
            took = time.process_time() - since
        written = capsys.readouterr()
        now = _contents(standing)
        changed = dict(known.items() ^ now.items())
        known.clear()
        known.update(now)
        assert changed == {}
        # The first one pays for loading the libraries.
        assert took < 20
        return status, written.out, written.err

    monkeypatch.chdir(standing)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return call


def test_every_command_is_typed_wrong_in_several_ways() -> None:
    rows = [name_of(words_of(line)) for line in lines_of(WRONG)]
    few = {name for name in COMMANDS if rows.count(name) < (1 if name in QUIET else 2)}
    assert few == set()
    assert len(rows) > 86


QUIET = {"methods", "audits", "learners"}
"""Commands that take nothing but what all take."""


@pytest.mark.parametrize("line", lines_of(WRONG), ids=lambda line: ascii(line)[1:80])
def test_what_is_wrong_is_told_in_one_line(said: Callable[[str], Said], line: str) -> None:
    status, out, err = said(line)
    assert (status, out, err.count("\n")) == (2, "", 1), (status, out, err)
    message = err.removeprefix("olvido: ").strip()
    assert message != err.strip()
    assert PYTHON.search(message) is None
    # What is wrong, and then what to do or what would have been right.
    assert re.search(r"[:;,.] |\(", message), message
    assert len(message) < 1200


@pytest.mark.parametrize("line", lines_of(ANSWERED_NO))
def test_a_no_is_an_answer_with_its_reason(said: Callable[[str], Said], line: str) -> None:
    status, out, err = said(line)
    assert (status, err) == (1, "")
    assert isinstance(json.loads(out), dict)


FLAGS = [
    ("forget small --forget good.jsonl --out o", "--retain"),
    ("forget small $FORGET --method auto", "--holdout"),
    ("forget small $FORGET --method auto", "--reference"),
    ("forget small $FORGET --option epochs=0", "--option epochs"),
    ("forget small $FORGET --chat", "--chat"),
    ("compare small $FORGET --methods ascent", "--base"),
    ("$COMPARE --seeds $MANY", "--seeds"),
    ("learn people --model small --batch-size 0", "--batch-size"),
    ("learn people --model small --lr -1", "--lr"),
    ("request new", "--subject"),
    ("request new --kind outdated --dataset people", "--record"),
    ("request new --subject 'Nobody Here'", "--nothing-found"),
    ("request wait req-0001 --why ''", "--why"),
    ("request export req-0003 --out x --by Marta", "--unchecked"),
    ("request correct req-0004 --rows good.jsonl --by Marta", "--unchecked"),
    ("request new --kind rectification --subject 'Ana Soler'", "--record"),
    ("notice req-0001 --kind needs-information", "--reason"),
]
"""Wrong lines, and what the command line calls the parameter that the library's error names."""


@pytest.mark.parametrize(("line", "flag"), FLAGS)
def test_an_error_of_the_library_names_the_flag(
    said: Callable[[str], Said], line: str, flag: str
) -> None:
    status, _, err = said(line)
    assert status == 2
    assert re.search(rf"(?<![\w-]){flag}(?![\w-])", err)
