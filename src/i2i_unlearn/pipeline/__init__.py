"""Kubeflow: the run form, step outputs, the local runner, the cluster client."""
