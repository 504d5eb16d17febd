"""Check whether Olvido can work here: machine, hub, workspace, and the needs of a run.

The checks change nothing, wait at most two seconds for the network, and reveal no secret.
"""

from __future__ import annotations

import shutil
import stat
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from olvido.accounts import Accounts
from olvido.errors import OlvidoError, UnknownName
from olvido.extras import EXTRAS, is_installed
from olvido.ledger.digests import Digest
from olvido.ledger.identity import Key
from olvido.ledger.signing import PublicKey, SigningKey, public_file
from olvido.ledger.store import Store, engine, schema
from olvido.models.base import HUB_ID, require_device
from olvido.models.folder import weights_in
from olvido.models.smollm2 import FOLDER, default_cache
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.settings import FILE, Settings

MEMORY, DISK = 6.0, 4.0
"""The needs of a training or a forgetting, in multiples of the weights in float32. In memory: the
original model, its copy, gradients, AdamW's two moments, and the best weights so far (measured with
40 million weights: 5.6 for training and 5.2 for npo, small batches; activations come on top). On
disk: the model, and a checkpoint with its moments while it trains."""
_FREE = 1 << 30
_PROBE = 1 << 20
_SECONDS = 2.0
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class State(StrEnum):
    """The result of a check: all right, wrong, or a neutral fact."""

    FINE = "fine"
    WRONG = "wrong"
    NOTED = "noted"


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        what: its object.
        state: its result.
        says: what was found.
        remedy: what to do, where something is wrong.
    """

    what: str
    state: State
    says: str
    remedy: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def examine(
    folder: Path, settings: Settings | OlvidoError | None, *, model: str | None = None
) -> tuple[Check, ...]:
    """Make all checks, whatever they find.

    Args:
        folder: the folder that a run would write to.
        settings: the workspace's settings; the error of reading them; None without a workspace.
        model: the model whose memory needs are shown: a name, a folder, a hub id or a model of the
            workspace; None: all of the workspace's.

    Raises:
        UnknownName: there is no such model.
    """
    here = settings if isinstance(settings, Settings) else None
    found = [*_machine(here), _disk(folder), _hub(), _cache(), *_extras()]
    if settings is None:
        none = "there is none here: 'olvido init' makes one, and models in folders need none"
        found.append(Check("workspace", State.NOTED, none))
    elif here is None:
        found.append(_wrong("settings", str(settings), f"mend {FILE} or the variable"))
    else:
        found += _workspace(here)
    if model is not None:
        found.append(_run(model, _size_of(model, here), folder))
    elif here is not None:
        found += _runs(here)
    return tuple(found)


def _wrong(what: str, says: str, remedy: str) -> Check:
    return Check(what, State.WRONG, says, remedy)


def _machine(settings: Settings | None) -> Iterator[Check]:
    import torch

    there = ["cpu"]
    if torch.cuda.is_available():
        there += [f"cuda:{n}" for n in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        there.append("mps")
    wanted = "cpu" if settings is None else settings.device
    says = f"{wanted} is used, {torch.get_num_threads()} threads; there are {', '.join(there)}"
    try:
        require_device(wanted)
        yield Check("device", State.FINE, says)
    except OlvidoError as error:
        yield _wrong("device", str(error), f"set 'device' in {FILE} to one that is there")
    free, whole = memory()
    yield Check("memory", State.FINE, f"{_gb(free)} free of {_gb(whole)}")


def memory() -> tuple[int, int]:
    """Bytes of memory that are free for a new run, and of all memory."""
    import psutil

    found = psutil.virtual_memory()
    return int(found.available), int(found.total)


def _disk(folder: Path) -> Check:
    """Check for room on the disk, by writing a small temporary file."""
    free = shutil.disk_usage(folder).free
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_PROBE))
            probe.flush()
    except OSError as error:
        says = f"nothing can be written into {folder} ({error.strerror})"
        return _wrong("disk", says, "make room, or see who may write there")
    if free < _FREE:
        return _wrong("disk", f"{_gb(free)} free in {folder}", "make room for models")
    return Check("disk", State.FINE, f"{_gb(free)} free in {folder}")


def _hub() -> Check:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return Check("hub", State.NOTED, "offline by HF_HUB_OFFLINE: what lies here can be used")
    if reached(constants.ENDPOINT):
        return Check("hub", State.FINE, f"{constants.ENDPOINT} answers")
    return Check(
        "hub",
        State.NOTED,
        f"{constants.ENDPOINT} does not answer: what lies here can be used, and HF_HUB_OFFLINE=1 "
        "spares the wait",
    )


def reached(address: str) -> bool:
    """Whether a server answers at all, within two seconds, names and proxies included."""
    from huggingface_hub import get_session

    answered = threading.Event()

    def ask() -> None:
        try:
            get_session().head(address, timeout=_SECONDS)
        except Exception:  # noqa: BLE001 - for any reason, it did not answer
            return
        answered.set()

    # A look-up of a name has no timeout, so this thread is not joined.
    threading.Thread(target=ask, daemon=True).start()
    return answered.wait(_SECONDS)


def _cache() -> Check:
    from huggingface_hub import constants

    places = f"the hub's files lie in {constants.HF_HUB_CACHE}, Olvido's in {default_cache()}"
    return Check("cache", State.FINE, places)


def _extras() -> Iterator[Check]:
    for name, extra in EXTRAS.items():
        if is_installed(name):
            yield Check(f"extra {name}", State.FINE, f"installed, for {extra.purpose}")
        else:
            how = f"not installed; for {extra.purpose}: pip install 'olvido[{name}]'"
            yield Check(f"extra {name}", State.NOTED, how)


def _workspace(settings: Settings) -> Iterator[Check]:
    yield Check("workspace", State.FINE, f"{settings.workspace}, {FILE} read")
    key = _read(lambda: Key.load(settings.key))
    yield _key("key", settings.key, key)
    signing = _read(lambda: SigningKey.load(settings.signing_key))
    yield _key("signing key", settings.signing_key, signing)
    yield _public(settings, signing)
    tokens = _read(lambda: Accounts.of(settings).tokens())
    if isinstance(tokens, Exception):
        yield _wrong(
            "tokens", str(tokens), "put back the copy you kept: the ledger knows its accounts"
        )
    else:
        yield Check("tokens", State.FINE, f"{len(tokens)} are valid")
    seen = _read(lambda: engine.look(engine.database_url(settings.ledger)))
    if isinstance(seen, Exception):
        yield _wrong("ledger", str(seen), "put back the ledger, or correct where it is said to be")
        return
    yield _schema(seen)
    if isinstance(key, Key) and seen.fingerprint is not None:
        yield _belonging(key, seen.fingerprint)


def _read(what: Callable[[], Any]) -> Any:
    """Return the value, or the error."""
    try:
        return what()
    except (OlvidoError, OSError) as error:
        return error


def _key(what: str, path: Path, found: Any) -> Check:
    if isinstance(found, Exception):
        return _wrong(what, str(found), f"put the copy you kept at {path}")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & _OTHERS:
        says = f"{path} may be read or changed by others (mode {mode:o})"
        return _wrong(what, says, f"chmod 600 {path}")
    return Check(what, State.FINE, f"{path}, for its owner alone")


def _public(settings: Settings, signing: Any) -> Check:
    path = public_file(settings.signing_key)
    public = _read(lambda: PublicKey.load(path))
    if isinstance(public, Exception):
        return _wrong("public key", str(public), "put back the copy that others have")
    if isinstance(signing, SigningKey) and signing.public != public:
        says = f"{path} is not the public half of {settings.signing_key}"
        return _wrong("public key", says, "put back the pair that belongs together")
    return Check("public key", State.FINE, str(path))


def _schema(seen: engine.DatabaseInfo) -> Check:
    says = f"{seen.kind}, schema {seen.version or 'none'}"
    if seen.version == schema.VERSION:
        return Check("ledger", State.FINE, says)
    if seen.version is None:
        return _wrong("ledger", f"{says}: this is no ledger", "put back the ledger from a backup")
    if seen.version > schema.VERSION:
        return _wrong("ledger", f"{says}, made by a newer Olvido", "upgrade Olvido")
    return Check("ledger", State.NOTED, f"{says}; the next command brings it to {schema.VERSION}")


def _belonging(key: Key, expected: str) -> Check:
    versions = {str(key.at(n).fingerprint): n for n in range(1, key.version + 1)}
    if expected in versions:
        return Check(
            "key of ledger", State.FINE, f"version {versions[expected]}, {_short(expected)}"
        )
    says = f"the ledger expects {_short(expected)}, and the key is {_short(str(key.fingerprint))}"
    return _wrong("key of ledger", says, "put back the key that was made with the ledger")


def _short(fingerprint: str) -> str:
    return f"fingerprint {Digest.from_str(fingerprint).hex[:16]}"


def _runs(settings: Settings) -> Iterator[Check]:
    """The needs of a run, for one model of each size in the workspace."""
    try:
        if engine.look(engine.database_url(settings.ledger)).version != schema.VERSION:
            # Opening it would migrate it, or fail as reported above.
            return
        with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
            known = [one for one in store.models() if one.tombstone is None]
    except (OlvidoError, OSError):
        # Their faults were reported above.
        return
    sizes: dict[int, str] = {}
    for one in known:
        size = weights_in(settings.models / one.path)
        if size is None:
            says = f"no weights of model {one.id} lie in {settings.models / one.path}"
            yield _wrong(f"model {one.id}", says, "put its folder back from a backup")
        else:
            sizes.setdefault(size, one.id)
    for size, name in sorted(sizes.items()):
        yield _run(name, size, settings.workspace)


def _size_of(model: str, settings: Settings | None) -> int | None:
    """The number of a model's weights, without loading them; None where it is unknown."""
    if Path(model).is_dir():
        return weights_in(Path(model))
    if model == "tiny":
        return sum(p.numel() for p in tiny_model(len(tiny_tokenizer()), seed=0).parameters())
    if model == "smollm2":
        return weights_in(default_cache() / FOLDER)
    if HUB_ID.fullmatch(model):
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(model, "config.json")
        return weights_in(Path(found).parent) if isinstance(found, str) else None
    if settings is None:
        raise UnknownName("model", model, ["tiny", "smollm2", "a folder", "organisation/model"])
    with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
        return weights_in(settings.models / store.model(model).path)


def _run(name: str, size: int | None, folder: Path) -> Check:
    what = f"run {name}"
    if size is None:
        says = "how many weights it has is not known here: fetch it first, by using it once"
        return Check(what, State.NOTED, says)
    needed, saved = 4 * size * MEMORY, 4 * size * DISK
    says = (
        f"{size:,} weights: to train it or to make it forget takes about {_gb(needed)} of memory "
        f"and {_gb(saved)} of disk, in float32 and besides what the batch takes"
    )
    free, room = memory()[0], shutil.disk_usage(folder).free
    if needed > free or saved > room:
        short = f"memory ({_gb(free)} free)" if needed > free else f"disk ({_gb(room)} free)"
        return _wrong(
            what, f"{says}; there is not enough {short}", "make room, or use a larger one"
        )
    return Check(what, State.FINE, says)


def _gb(size: float) -> str:
    """Format bytes for people.

    >>> _gb(3 << 30), _gb(5_000_000)
    ('3.2 GB', '5 MB')
    """
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6))} MB"


def sound(checks: Iterable[Check]) -> bool:
    """Whether nothing is wrong."""
    return all(check.state is not State.WRONG for check in checks)
