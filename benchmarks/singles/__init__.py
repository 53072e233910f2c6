"""How well single images are forgotten: the default against the paper's method and retraining.

docs/results/singles.md holds the results.
"""
