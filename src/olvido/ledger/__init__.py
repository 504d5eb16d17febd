"""Who taught what: person, records, datasets, training runs, and every model that holds them.

Import from the modules: `olvido.ledger.store.Store`, `olvido.ledger.facts`,
`olvido.data.importing.import_file`, `olvido.ledger.rows.load_rows`.
"""
