"""Ours: the installed package torch-fidelity brings a package of this name, too."""
