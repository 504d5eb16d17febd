"""What files are made of, whatever wrote them: parts, rows, cells and the words in them.

The modules are pure: they read files, know no ledger and no workspace, and write nothing.
"""
