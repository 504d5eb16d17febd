"""Digests, canonical JSON and Merkle roots obey their laws."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olvido.errors import InputError
from olvido.ledger.digests import Digest, canonical_json, keyed, merkle_root, records_root

leaves = st.lists(st.binary(max_size=40), max_size=40)
records = st.dictionaries(st.text(max_size=8), st.binary(min_size=32, max_size=32), min_size=1)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


def rfc6962(data: list[bytes]) -> bytes:
    """The Merkle tree hash as the standard writes it, recursively."""
    if not data:
        return hashlib.sha256(b"").digest()
    if len(data) == 1:
        return hashlib.sha256(b"\x00" + data[0]).digest()
    split = 1
    while split * 2 < len(data):
        split *= 2
    return hashlib.sha256(b"\x01" + rfc6962(data[:split]) + rfc6962(data[split:])).digest()


@given(st.binary())
def test_a_digest_survives_its_text(content: bytes) -> None:
    digest = Digest.of(content)
    assert Digest.from_str(str(digest)) == digest
    assert digest.raw == hashlib.sha256(content).digest()


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:" + "0" * 63, "sha256:" + "G" * 64, "md5:" + "0" * 64, "0" * 64]
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="digest"):
        Digest.from_str(text)


@given(json_values)
def test_canonical_json_says_the_same_and_only_one_way(value: object) -> None:
    encoded = canonical_json(value)
    assert json.loads(encoded) == value
    assert canonical_json(json.loads(encoded)) == encoded


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {"a": {1, 2}}])
def test_what_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        canonical_json(value)


@given(leaves)
def test_the_root_is_that_of_rfc_6962(data: list[bytes]) -> None:
    assert merkle_root(data).raw == rfc6962(data)


@given(records, st.randoms())
def test_the_order_of_records_does_not_matter(digests: dict[str, bytes], random: object) -> None:
    shuffled = list(digests.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert records_root(dict(shuffled)) == records_root(digests)


@given(records, st.data())
def test_any_change_changes_the_root(digests: dict[str, bytes], data: st.DataObject) -> None:
    chosen = data.draw(st.sampled_from(sorted(digests)))
    changed = dict(digests) | {chosen: bytes([digests[chosen][0] ^ 1]) + digests[chosen][1:]}
    removed = {name: digest for name, digest in digests.items() if name != chosen}
    added = dict(digests) | {chosen + "x" * 9: b"0" * 32}
    roots = {records_root(d) for d in (digests, changed, removed, added)}
    assert len(roots) == 4


def test_a_leaf_is_not_a_node() -> None:
    inner = b"".join(hashlib.sha256(b"\x00" + leaf).digest() for leaf in (b"a", b"b"))
    assert merkle_root([inner]) != merkle_root([b"a", b"b"])


@given(st.binary(max_size=64), st.binary(max_size=80), st.lists(st.binary(max_size=200)))
def test_a_key_that_is_hashed_once_gives_the_macs_of_rfc_2104(
    secret: bytes, purpose: bytes, messages: list[bytes]
) -> None:
    mac = keyed(secret, purpose)
    said = [hmac.digest(secret, purpose + message, "sha256") for message in messages]
    assert [mac(message) for message in messages] == said


def test_a_key_longer_than_a_block_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 64 bytes"):
        keyed(bytes(65), b"")
