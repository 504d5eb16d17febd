"""Heads and proofs are those of RFC 6962, and prove what they say and nothing else."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olvido.errors import InputError
from olvido.ledger.digests import (
    Digest,
    consistency_proof,
    consistent,
    heads,
    included,
    inclusion_proof,
    leaf_hash,
    merkle_root,
)

# The inputs, heads and paths that implementations of RFC 6962 test with.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
        "606162636465666768696a6b6c6d6e6f",
    )
]
HEADS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
SIZES = range(1, 34)
MANY = [bytes([i]) for i in range(SIZES[-1])]
ALL = [Digest("0" * 64), *heads(MANY)]


def tree_hash(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, word for word."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = split(len(leaves))
    return hashlib.sha256(b"\x01" + tree_hash(leaves[:k]) + tree_hash(leaves[k:])).digest()


def split(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of section 2.1.1, word for word."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), tree_hash(leaves[k:])]
    return [*path(m - k, leaves[k:]), tree_hash(leaves[:k])]


def test_the_published_heads() -> None:
    assert [head.hex for head in heads(LEAVES)] == HEADS


def test_the_published_paths() -> None:
    assert [step.hex() for step in inclusion_proof(LEAVES, 0)] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]
    assert [step.hex() for step in consistency_proof(LEAVES, 6)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


def test_every_head_and_path_is_the_definition_s() -> None:
    for size in SIZES:
        leaves = MANY[:size]
        assert ALL[size].raw == merkle_root(leaves).raw == tree_hash(leaves)
        for index in range(size):
            proof = inclusion_proof(leaves, index)
            assert list(proof) == path(index, leaves)
            assert included(leaves[index], index, size, proof, ALL[size])
            for other in range(size + 1):
                assert included(leaves[index], other, size, proof, ALL[size]) == (other == index)


def test_every_log_begins_with_all_that_it_was() -> None:
    for later in SIZES:
        for earlier in range(1, later + 1):
            proof = consistency_proof(MANY[:later], earlier)
            assert consistent(earlier, later, ALL[earlier], ALL[later], proof)
            assert len(proof) <= later.bit_length() + 1
            for other in range(1, later + 1):
                if other != earlier:
                    assert not consistent(other, later, ALL[other], ALL[later], proof)
                    assert not consistent(earlier, later, ALL[other], ALL[later], proof)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_an_altered_proof_proves_nothing(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, SIZES[-1]))
    index = data.draw(st.integers(0, size - 1))
    leaves = MANY[:size]
    earlier = data.draw(st.integers(1, size - 1))
    for proof, holds in (
        (
            inclusion_proof(leaves, index),
            lambda p: included(leaves[index], index, size, p, ALL[size]),
        ),
        (
            consistency_proof(leaves, earlier),
            lambda p: consistent(earlier, size, ALL[earlier], ALL[size], p),
        ),
    ):
        assert holds(proof)
        altered = list(proof)
        change = data.draw(st.sampled_from(["flip", "drop", "add", "swap"]))
        at = data.draw(st.integers(0, len(altered) - 1))
        if change == "flip":
            bit = data.draw(st.integers(0, 255))
            altered[at] = (int.from_bytes(altered[at]) ^ (1 << bit)).to_bytes(32)
        elif change == "drop":
            del altered[at]
        elif change == "add":
            altered.insert(at, data.draw(st.binary(min_size=32, max_size=32)))
        else:
            altered.reverse()
        assert altered == list(proof) or not holds(tuple(altered))


def test_a_node_is_no_leaf() -> None:
    inner = leaf_hash(b"a") + leaf_hash(b"b")
    assert merkle_root([inner]) != merkle_root([b"a", b"b"])
    assert not included(inner, 0, 1, (), merkle_root([b"a", b"b"]))


def test_what_is_not_there_cannot_be_proven() -> None:
    for index in (-1, 8):
        with pytest.raises(InputError, match="between 0 and 7"):
            inclusion_proof(LEAVES, index)
    for size in (0, 9):
        with pytest.raises(InputError, match="between 1 and 8"):
            consistency_proof(LEAVES, size)
    assert not included(b"", 0, 0, (), merkle_root([]))
    assert not consistent(0, 8, merkle_root([]), merkle_root(LEAVES), ())
