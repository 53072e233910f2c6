"""Palette: a U-Net conditioned on the visible pixels."""
