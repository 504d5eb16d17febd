"""The ledger and the files of `tests/ledger`."""

from tests.ledger.conftest import blank, data, state, store, write

__all__ = ["blank", "data", "state", "store", "write"]
