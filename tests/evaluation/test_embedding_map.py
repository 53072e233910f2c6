import torch

from i2i_unlearn.evaluation.embedding_map import EmbeddingCollector, pooled
from i2i_unlearn.evaluation.metrics.observe import Seen
from i2i_unlearn.models.base import Embedding

CPU = torch.device("cpu")


def batch(num):
    images = torch.rand(num, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    visible = torch.ones(num, 8, 8, dtype=torch.bool)
    return Seen(images_BCHW=images, visible_BHW=visible, completed={}, hole_error={})


def test_pooling_by_hand():
    tokens = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]]])
    assert pooled(Embedding((tokens,))).tolist() == tokens.mean(1).tolist()
    padded = Embedding((tokens,), valid_BN=torch.tensor([[True, True, False]]))
    assert pooled(padded).tolist() == [[2.0, 4.0]]
    pyramid = Embedding((torch.tensor([[[[1.0, 3.0]], [[5.0, 7.0]]]]), torch.tensor([[[9.0]]])))
    assert pooled(pyramid).tolist() == [[2.0, 6.0, 9.0]]
    vectors = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert pooled(Embedding((vectors,))).tolist() == vectors.tolist()


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
