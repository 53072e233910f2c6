"""Errors, whole files, progress, git facts, torch devices. Nothing here decides a number."""
