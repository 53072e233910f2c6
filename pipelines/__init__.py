"""Kubeflow pipelines and their compiled YAML."""
