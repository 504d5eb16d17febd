"""Approved requests are answered step by step, whatever crashes: by `olvido run`."""
