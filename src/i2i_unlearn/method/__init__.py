"""The papers: noise, targets, objectives, the surrogate, adapters, synthetic retain images."""
