"""Exporters: where traces, metrics and logs are taken."""
