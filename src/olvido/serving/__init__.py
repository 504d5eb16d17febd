"""The service: requests, models and evidence over HTTP, as an API and as pages."""
