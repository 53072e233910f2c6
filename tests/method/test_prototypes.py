import pytest
import torch

from i2i_unlearn.method.prototypes import FEWEST, Prototypes, mean_images, read_prototypes, write_prototypes
from i2i_unlearn.models.pixels import to_float
from i2i_unlearn.support.errors import UserError


def made(num, seed=0, size=3):
    return torch.randint(0, 256, (num, 1, size, size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_a_mean_by_hand():
    # five images of 0 and five of 255: -1 and 1 in [-1, 1]
    images = torch.tensor([0] * 5 + [255] * 5 + [51] * 10, dtype=torch.uint8).view(20, 1, 1, 1)
    found = mean_images(images, ["a"] * 10 + ["b"] * 10)
    assert found.means["a"].item() == 0.0
    assert found.means["b"].item() == pytest.approx(-0.6)
    assert found.counts == {"a": 10, "b": 10}


def test_a_class_of_few_images_has_no_prototype():
    images = made(2 * FEWEST - 1)
    assert set(mean_images(images, ["a"] * FEWEST + ["b"] * (FEWEST - 1)).means) == {"a"}


def test_taking_images_out_of_a_mean_is_as_if_they_had_never_entered():
    images = made(40)
    labels = ["a", "b"] * 20
    gone = [0, 2, 3, 9]
    kept = [row for row in range(40) if row not in gone]
    taken = mean_images(images, labels).without(images[gone], [labels[row] for row in gone])
    never = mean_images(images[kept], [labels[row] for row in kept])
    assert taken.counts == never.counts
    for label, mean in never.means.items():
        assert torch.allclose(taken.means[label], mean, atol=1e-6)


def test_a_class_that_is_forgotten_as_a_whole_or_nearly_has_no_prototype_left():
    images = made(30)
    labels = ["a"] * 12 + ["b"] * 18
    everything = mean_images(images, labels)
    assert set(everything.without(images[:12], labels[:12]).means) == {"b"}
    assert set(everything.without(images[:3], labels[:3]).means) == {"b"}  # 9 would be left
    assert set(everything.without(images[:2], labels[:2]).means) == {"a", "b"}
    assert everything.without(images[:3], ["other"] * 3).counts == everything.counts


def test_more_images_than_a_mean_is_made_of_are_refused():
    images = made(30)
    few = mean_images(images[:10], ["a"] * 10)
    with pytest.raises(UserError, match="mean of 10 images, but 11 of that class are to be forgotten"):
        few.without(images[:11], ["a"] * 11)


def test_what_is_written_is_read_again(tmp_path):
    found = mean_images(made(20), ["a b/c"] * 10 + ["ü"] * 10)
    write_prototypes(found, tmp_path / "p.safetensors")
    again = read_prototypes(tmp_path / "p.safetensors", (1, 3, 3))
    assert again.counts == found.counts
    assert all(again.means[label].equal(mean) for label, mean in found.means.items())
    assert again.stacked().shape == (2, 1, 3, 3)


def test_what_is_no_file_of_prototypes_is_told(tmp_path):
    path = tmp_path / "p.safetensors"
    with pytest.raises(UserError, match="make it with `i2i-unlearn data prototypes`"):
        read_prototypes(path, (1, 3, 3))
    path.write_bytes(b"no")
    with pytest.raises(UserError, match="cannot be read"):
        read_prototypes(path, (1, 3, 3))
    write_prototypes(Prototypes({}, {}), path)
    with pytest.raises(UserError, match="holds no prototypes"):
        read_prototypes(path, (1, 3, 3))
    write_prototypes(mean_images(made(10), ["a"] * 10), path)
    with pytest.raises(UserError, match=r"of the shape \(1, 3, 3\), the model takes \(3, 8, 8\)"):
        read_prototypes(path, (3, 8, 8))


def test_the_mean_is_not_one_of_the_images():
    images = made(10)
    mean = mean_images(images, ["a"] * 10).means["a"]
    assert all((to_float(image) - mean).abs().max() > 0.1 for image in images)
