"""Completing images with a model that is done: what the registered version and the command `complete` share."""
