"""Cheap stand-ins that say what a retrained model would do on the forget set (objectives/surrogate_difference.py)."""
