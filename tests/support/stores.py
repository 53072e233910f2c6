"""Stores of checkpoints for runs of the training loop in tests."""


class Kept:
    """A store that keeps every checkpoint, as bytes would keep it: copied."""

    def __init__(self, last=None):
        self.last, self.all = last, []

    def load(self):
        return self.last

    def save(self, checkpoint):
        tensors = {name: tensor.clone() for name, tensor in checkpoint.tensors.items()}
        self.last = type(checkpoint)(
            checkpoint.step, tensors, list(checkpoint.log), dict(checkpoint.memory), checkpoint.seconds
        )
        self.all.append(self.last)


def resumed_alike(run):
    """Assert that a run that resumes from any of its checkpoints ends with the same bits and log; return the store.

    `run(store)` trains and returns (state_dict, log).
    """
    whole = Kept()
    weights, log = run(whole)
    for checkpoint in whole.all:
        again, again_log = run(Kept(checkpoint))
        assert again_log == log, checkpoint.step
        assert all(tensor.equal(again[name]) for name, tensor in weights.items()), checkpoint.step
    return whole
