"""Objectives of unlearning, by name."""
