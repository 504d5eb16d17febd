"""Read files of any program as parts, rows, cells and words.

The modules are pure: they read files, know no ledger and no workspace, and write nothing.
"""
