from i2i_unlearn.evidence.verify import verify


def test_a_bundle_that_nobody_touched_is_sound(world, with_weights, copied):
    found = verify(copied(with_weights), world.public)
    assert found.broken == []
