"""The data lineage ledger: people, records, datasets, training runs, and the models they taught.

Import from the modules: `olvido.ledger.store.Store`, `olvido.ledger.facts`,
`olvido.data.importing.import_file`, `olvido.ledger.rows.load_rows`.
"""
