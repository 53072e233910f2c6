"""Families of image-to-image generators, by name."""
