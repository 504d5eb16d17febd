"""MLflow's model registry: a version there for a version here, with what vouches for it as tags."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from olvido.errors import InputError
from olvido.extras import extra
from olvido.ledger.facts import Guarantee, Model
from olvido.ledger.store import Store

"""The extra of this package that brings MLflow."""


def registry_tags(store: Store, model: Model, *, certificate: str | None = None) -> dict[str, str]:
    """What MLflow keeps beside a version, all of it words or digests, and nobody's name.

    Args:
        store: the ledger.
        model: the version; its guarantee is the weakest under which it or a model before it forgot,
            and none is given where nothing was forgotten.
        certificate: SHA-256 of the certificate's file, in hex, if it has one.
    """
    known = {one.id: one for one in store.models()}
    line, waiting = {model.id}, [model]
    while waiting:
        for parent in waiting.pop().parents:
            if parent not in line:
                line.add(parent)
                waiting.append(known[parent])
    given = {
        use.guarantee
        for uses in store.uses_in_brief(line).values()
        for use in uses
        if use.guarantee is not None
    }
    tags = {
        "version": model.id,
        "weights": str(model.digest),
        "learner": model.learner,
        "method": model.method,
        "parent": ",".join(model.parents),
        "guarantee": Guarantee.weakest(given).value if given else None,
        "certificate": certificate and f"sha256:{certificate}",
    }
    return {f"olvido.{name}": value for name, value in tags.items() if value}


class Registry:
    """A registry of models, at an address that MLflow understands.

    Args:
        address: `sqlite:///mlflow.db`, `http://host:5000` or another of MLflow's.
        name: of the registered model, which is made where there is none.

    Raises:
        InputError: the registry refuses.
        MissingExtra: MLflow is not installed.
    """

    def __init__(self, address: str, name: str) -> None:
        if not address.strip():
            raise InputError("expected the registry's address, as sqlite:///mlflow.db, got none")
        # It would tell its makers of each use, and try a silent server for minutes.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        with extra("mlflow"):
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
            from sqlalchemy.exc import SQLAlchemyError
        # Not all that its database says comes through it.
        self._refusals = (MlflowException, SQLAlchemyError)
        self.name = name
        try:
            self._client = MlflowClient(tracking_uri=address, registry_uri=address)
            self._made()
        except self._refusals as error:
            raise self._refused(error) from error

    def _made(self) -> None:
        try:
            self._client.get_registered_model(self.name)
        except self._refusals as error:
            if getattr(error, "error_code", None) != "RESOURCE_DOES_NOT_EXIST":
                raise
            self._client.create_registered_model(self.name)

    def add(self, folder: Path, tags: dict[str, str], description: str) -> str:
        """Register what lies in a folder as the next version; returns its number."""
        source = folder.resolve().as_uri()
        made: dict[str, Any] = {"tags": tags, "description": description}
        try:
            return str(self._client.create_model_version(self.name, source, **made).version)
        except self._refusals as error:
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> InputError:
        return InputError(f"the registry refuses model {self.name!r}: {str(error).splitlines()[0]}")
