"""Forgetting that equals, bit for bit, never having learned."""

from olvido.forgetting.exact.drop import Drop
from olvido.forgetting.exact.module import Modules
from olvido.forgetting.exact.replay import Replay
from olvido.forgetting.exact.retrain import Retrain
from olvido.forgetting.exact.shard import Shard

__all__ = ["Drop", "Modules", "Replay", "Retrain", "Shard"]
