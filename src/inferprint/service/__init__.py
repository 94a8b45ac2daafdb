"""The HTTP service: the Scope3 AI API, a ledger of usage, and traces of OpenTelemetry."""
