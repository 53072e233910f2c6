import hashlib
import itertools

import torch

from i2i_unlearn.models.randomness import derive_seed, generator_for


def test_value_by_hand():
    # The digest of what is written, not Python's hash(), which differs from process to process.
    digest = hashlib.sha256(b"(7, 'masks', 'retain', 3)").hexdigest()
    assert derive_seed(7, "masks", "retain", 3) == int(digest[:16], 16) // 2


def test_every_seed_and_purpose_has_a_stream_of_its_own():
    purposes = [
        ("masks",),
        ("masks", 0),
        ("masks", "0"),
        ("masks", 1),
        ("noise", 0),
        ("mas", "ks"),
        ("masks", 0, 0),
        (),
    ]
    seeds = [derive_seed(seed, *purpose) for seed, purpose in itertools.product(range(50), purposes)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_stream_does_not_depend_on_what_was_drawn_before():
    first = torch.rand(5, generator=generator_for(0, "masks", 900))
    torch.rand(5, generator=generator_for(0, "masks", 899))
    torch.rand(5)
    assert first.equal(torch.rand(5, generator=generator_for(0, "masks", 900)))


def test_negative_and_large_seeds_are_seeds():
    for seed in (-1, 2**70):
        assert generator_for(seed, "x").initial_seed() == derive_seed(seed, "x")
