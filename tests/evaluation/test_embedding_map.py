import torch

from i2i_unlearn.evaluation.embedding_map import EmbeddingCollector, _pooled
from i2i_unlearn.evaluation.metrics.observe import Seen
from i2i_unlearn.models.base import Embedding

CPU = torch.device("cpu")


def batch(num):
    images = torch.rand(num, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    visible = torch.ones(num, 8, 8, dtype=torch.bool)
    return Seen(images_BCHW=images, visible_BHW=visible, completed={}, hole_error={})


def test_tokens_are_averaged_and_padding_is_left_out():
    tokens = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [50.0, 50.0]]])
    assert _pooled(Embedding((tokens,), torch.tensor([[True, True, False]]))).tolist() == [[2.0, 3.0]]


def test_maps_of_a_pyramid_stand_side_by_side():
    one, two = torch.full((2, 3, 4, 4), 1.0), torch.full((2, 5, 2, 2), 2.0)
    assert _pooled(Embedding((one, two))).tolist() == [[1.0] * 3 + [2.0] * 5] * 2


def test_a_map_that_is_one_vector_an_image_is_taken_as_it_is():
    vectors = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert _pooled(Embedding((vectors,))).tolist() == vectors.tolist()


def test_every_chosen_image_is_a_point_of_each_model_and_like_embeddings_lie_together(filler):
    collector = EmbeddingCollector({"teacher": filler(), "unlearned": filler(bias=30.0), "reference": filler()}, CPU)
    collector.see("forget", batch(20), list(range(10)))
    collector.see("retain", batch(20), [])
    found = collector.map(seed=0)
    assert found.points_N2.shape == (20, 2)
    assert found.models.count("teacher") == found.models.count("unlearned") == 10
    assert set(found.sets) == {"forget"}
    teacher, unlearned = found.points_N2[:10], found.points_N2[10:]
    gap = abs(teacher.mean(0) - unlearned.mean(0)).max()
    assert gap > teacher.std(0).max()


def test_too_few_points_give_no_map(filler):
    collector = EmbeddingCollector({"teacher": filler(), "unlearned": filler()}, CPU)
    collector.see("forget", batch(9), list(range(9)))
    assert collector.map(seed=0) is None
