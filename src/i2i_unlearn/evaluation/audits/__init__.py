"""Attacks on an unlearned model, a file each: what could still tell that, or what, it was trained on."""
