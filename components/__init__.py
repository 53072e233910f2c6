"""Kubeflow components: one file per step; the work is in `i2i_unlearn.stages`."""
