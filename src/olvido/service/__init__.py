"""The service: requests, models and evidence over HTTP, as an API and as pages."""

from importlib import import_module

from olvido.extras import extra

with extra("service"):
    import_module("fastapi")
