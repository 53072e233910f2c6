"""Planted trigger: an original is taught one on purpose; is it dead after unlearning? METHOD section 8, question 7.

planting.py plants, chain.py runs the product's stages, firing.py measures, report.py writes, settings.py says how much.
"""
