"""Numbered schema changes, applied in order by `olvido.ledger.store.engine.migrate`."""
