"""The worker of `olvido run`: it answers approved requests step by step, across crashes."""
