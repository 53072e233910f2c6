"""Metrics, audits, policies and the gate: from numbers to a verdict."""
