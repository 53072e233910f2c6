"""Cheap stand-ins for a retrained model on the forget set (method/objectives/surrogate_difference.py)."""
