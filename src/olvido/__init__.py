"""Olvido: make trained models forget, and prove it.

import olvido
outcome = olvido.forget(model, tokenizer=tok, forget=rows, retain=others, method="npo")
report = olvido.audit(outcome.model, tokenizer=tok, forget=rows, retain=others, reference=ref)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from olvido.attribution import Traced, trace
    from olvido.audits import Finding, Report, Verdict, audit
    from olvido.comparison import Comparison, compare
    from olvido.errors import OlvidoError
    from olvido.estimator import ShardedClassifier
    from olvido.forgetting import Guarantee, Outcome, forget
    from olvido.heads import CertifiedHead, KNNHead, RidgeClassifierHead, RidgeHead
    from olvido.learners import Lora, Recipe, Trained, train
    from olvido.models import load

__version__ = "0.1.0"

_HOMES = {
    "CertifiedHead": "olvido.heads",
    "Comparison": "olvido.comparison",
    "Finding": "olvido.audits",
    "Guarantee": "olvido.forgetting",
    "KNNHead": "olvido.heads",
    "Lora": "olvido.learners",
    "OlvidoError": "olvido.errors",
    "Outcome": "olvido.forgetting",
    "Recipe": "olvido.learners",
    "Report": "olvido.audits",
    "RidgeClassifierHead": "olvido.heads",
    "RidgeHead": "olvido.heads",
    "ShardedClassifier": "olvido.estimator",
    "Traced": "olvido.attribution",
    "Trained": "olvido.learners",
    "Verdict": "olvido.audits",
    "audit": "olvido.audits",
    "compare": "olvido.comparison",
    "forget": "olvido.forgetting",
    "load": "olvido.models",
    "trace": "olvido.attribution",
    "train": "olvido.learners",
}

__all__ = [
    "CertifiedHead",
    "Comparison",
    "Finding",
    "Guarantee",
    "KNNHead",
    "Lora",
    "OlvidoError",
    "Outcome",
    "Recipe",
    "Report",
    "RidgeClassifierHead",
    "RidgeHead",
    "ShardedClassifier",
    "Traced",
    "Trained",
    "Verdict",
    "audit",
    "compare",
    "forget",
    "load",
    "trace",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that `olvido --help` need not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'olvido' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
