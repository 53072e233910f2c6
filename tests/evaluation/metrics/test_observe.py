import numpy as np
import pytest
import torch

from i2i_unlearn.evaluation.metrics import output_spread
from i2i_unlearn.evaluation.metrics.class_sums import classifier_score
from i2i_unlearn.evaluation.metrics.feature_cosine import cosine
from i2i_unlearn.evaluation.metrics.hole_psnr import hole_error
from i2i_unlearn.evaluation.metrics.kernel_distance import of_kernel, paired_kernel
from i2i_unlearn.evaluation.metrics.observations import MOST_IMAGES
from i2i_unlearn.evaluation.metrics.observe import SetObserver, masks_of
from i2i_unlearn.evaluation.metrics.output_spread import MOST_PIXELS
from i2i_unlearn.evaluation.metrics.table import statistics_of
from i2i_unlearn.models.operators import make_operator
from i2i_unlearn.support.errors import UserError

CPU = torch.device("cpu")
PLACES = [("a.parquet", 0), ("a.parquet", 7), ("b.parquet", 7)]


def images(num=12, size=8, seed=0):
    return torch.rand(num, 1, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def centre(num=12, size=8):
    return make_operator("center_hole", 0.75, 2).draw(num, size, size, torch.Generator())


def in_two(num, first=700):
    """The images in two batches."""
    return [(images(num)[:first], centre(first)), (images(num)[first:], centre(num - first))]


def observe(models, thumbnails, parts=None, *, seed=0):
    parts = parts or [(images(), centre())]
    num_images = sum(len(images_BCHW) for images_BCHW, _ in parts)
    observer = SetObserver(models, thumbnails, set_name="forget", num_images=num_images, seed=seed, device=CPU)
    for images_BCHW, visible_BHW in parts:
        observer.see(images_BCHW, visible_BHW)
    return observer.observations()


def test_a_mask_belongs_to_its_image_whatever_the_others():
    operator = make_operator("random_patches", 0.5, 2)
    together = masks_of(PLACES, operator, 8, 8, seed=3)
    alone = torch.cat([masks_of([place], operator, 8, 8, seed=3) for place in reversed(PLACES)]).flip(0)
    assert torch.equal(together, alone)
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(together[1], together[2])
    assert not torch.equal(together, masks_of(PLACES, operator, 8, 8, seed=4))


def test_a_fixed_operator_gives_one_mask_without_copies():
    assert masks_of(PLACES, make_operator("center_hole", 0.75, 2), 8, 8, seed=0).stride(0) == 0


def test_notes_the_errors_the_features_and_the_closeness_to_the_reference(filler, thumbnails):
    models = {"teacher": filler(), "unlearned": filler(bias=0.5), "reference": filler(bias=-0.5)}
    seen = observe(models, thumbnails)
    for name, model in models.items():
        completed = model.complete(images(), centre(), generator=torch.Generator())
        expected = hole_error(completed, images(), centre())
        assert seen[name].hole_error_N == pytest.approx(expected.numpy())
        features, original = thumbnails(completed).numpy(), thumbnails(images()).numpy()
        assert seen[name].feature_cosine_N == pytest.approx(cosine(features, original))
        # 12 images are more than twice the 5 features: sums are kept
        assert seen[name].features.sum_D.numpy() == pytest.approx(features.sum(0), rel=1e-6)
        assert seen[name].features.covariance() == pytest.approx(np.cov(features.T), abs=1e-7)
        assert seen[name].original_features.sum_D.numpy() == pytest.approx(original.sum(0), rel=1e-6)
    # outputs differ by the biases: (0.5 / 2)^2 and (1 / 2)^2 in [0, 1] pixels
    assert seen["teacher"].reference_errors["reference"] == pytest.approx(0.0625)
    assert seen["unlearned"].reference_errors["reference"] == pytest.approx(0.25)
    assert seen["reference"].reference_errors == {}


def test_without_a_reference_there_is_no_closeness_to_it(filler, thumbnails):
    seen = observe({"teacher": filler(), "unlearned": filler()}, thumbnails)
    assert seen["teacher"].reference_errors == {}


def test_the_size_of_batches_changes_nothing(filler, thumbnails):
    models = {"teacher": filler(), "unlearned": filler(bias=0.2)}
    whole = observe(models, thumbnails)
    split = observe(models, thumbnails, in_two(12, 5))
    for name in models:
        for column in ("hole_error_N", "own_loss_N", "feature_cosine_N", "pixels_NP", "hidden_NP", "sampled_N"):
            assert getattr(whole[name], column) == pytest.approx(getattr(split[name], column), abs=1e-6)
        covariances = [seen[name].features.covariance() for seen in (whole, split)]
        assert covariances[0] == pytest.approx(covariances[1], abs=1e-12)


def test_models_are_given_the_same_random_numbers(filler, thumbnails):
    models = {"teacher": filler(noise=0.3), "unlearned": filler(noise=0.3)}
    seen = observe(models, thumbnails)
    assert (seen["teacher"].feature_cosine_N == seen["unlearned"].feature_cosine_N).all()
    assert (seen["teacher"].own_loss_N == seen["unlearned"].own_loss_N).all()
    other = observe(models, thumbnails, seed=1)
    assert (seen["teacher"].feature_cosine_N != other["teacher"].feature_cosine_N).any()


def test_keeps_the_hidden_pixels_but_never_more_than_the_limit(filler, thumbnails):
    seen = observe({"teacher": filler(), "unlearned": filler()}, thumbnails)
    assert seen["teacher"].pixels_NP.shape == (12, 16)  # the hole of an 8 x 8 image has 4 x 4 pixels
    assert seen["teacher"].hidden_NP.all()
    large = {"teacher": filler(size=64), "unlearned": filler(size=64)}
    seen = observe(large, thumbnails, [(images(2, 64), centre(2, 64))])
    assert seen["teacher"].pixels_NP.shape == (2, MOST_PIXELS)


def test_outputs_that_are_not_finite_are_refused_by_model_and_set(filler, thumbnails):
    models = {"teacher": filler(), "unlearned": filler(bias=float("nan"))}
    with pytest.raises(UserError, match="the unlearned model's outputs on the set forget are not finite"):
        observe(models, thumbnails)


def kept_bytes(seen):
    """Of all arrays that metrics are computed from."""
    parts = [
        *vars(seen).values(),
        *seen.reference_errors.values(),
        *vars(seen.features).values(),
        *vars(seen.original_features).values(),
    ]
    return sum(part.nbytes for part in parts if hasattr(part, "nbytes"))


def test_of_many_images_seven_numbers_each_are_kept(filler, thumbnails):
    models = {"teacher": filler(), "unlearned": filler(bias=0.2), "reference": filler(bias=0.3)}
    few, many = MOST_IMAGES, MOST_IMAGES + 500
    sizes = [kept_bytes(observe(models, thumbnails, [(images(num), centre(num))])["teacher"]) for num in (few, many)]
    # hole error, its like to the reference, own loss, cosine and three shapes: float32; and, once for all models, the
    # places of images whose features are computed: int64
    assert sizes[1] - sizes[0] == 500 * (7 * 4 + 8)


def test_the_pixels_of_many_images_are_those_of_a_random_thousand(filler, thumbnails):
    num = MOST_IMAGES + 200
    seen = observe({"teacher": filler(), "unlearned": filler()}, thumbnails, in_two(num))["teacher"]
    assert len(set(seen.sampled_N)) == len(seen.pixels_NP) == MOST_IMAGES
    assert seen.sampled_N.max() >= MOST_IMAGES  # no prefix: shards are often sorted
    completed = filler().complete(images(num), centre(num), generator=torch.Generator())
    hole = (completed[:, 0, 2:6, 2:6].flatten(1) + 1) / 2
    assert seen.pixels_NP == pytest.approx(hole[seen.sampled_N].numpy())
    spread = output_spread.statistic(seen)
    assert spread.num_images == MOST_IMAGES
    assert spread.of(np.ones((1, num)))[0] == pytest.approx(float(hole.std(0).mean()), rel=0.05)


def test_of_many_images_the_kernel_distance_takes_the_rows_of_a_random_thousand(filler, thumbnails):
    num = MOST_IMAGES + 200
    sees = thumbnails.__call__  # made so wide that no Frechet distance is reliable

    class Wide:
        num_features = num

        def __call__(self, images_BCHW):
            return torch.nn.functional.pad(sees(images_BCHW), (0, num - 5))

    seen = observe({"teacher": filler(), "unlearned": filler()}, Wide(), in_two(num))["teacher"]
    completed = filler().complete(images(num), centre(num), generator=torch.Generator())
    for kept, expected in ((seen.original_features, images(num)), (seen.features, completed)):
        assert kept.rows_RD[:, :5] == pytest.approx(sees(expected)[seen.sampled_N].numpy(), abs=1e-6)
    kid = statistics_of(seen, "wide")["kid_wide"]
    assert kid.num_images == MOST_IMAGES
    alone = of_kernel(paired_kernel(seen.original_features.rows_RD, seen.features.rows_RD))
    assert kid.of(np.ones((1, num)))[0] == alone.of(np.ones((1, MOST_IMAGES)))[0]


def test_images_that_never_came_are_missed(filler, thumbnails):
    observer = SetObserver({"teacher": filler()}, thumbnails, set_name="forget", num_images=12, seed=0, device=CPU)
    observer.see(images(10), centre(10))
    with pytest.raises(ValueError, match="10 of 12 images were seen"):
        observer.observations()


def test_a_classifier_sees_the_completed_images(filler, thumbnails):
    models = {"teacher": filler(), "unlearned": filler(bias=0.5)}
    plain = observe(models, thumbnails)
    assert "classifier_score_tiny" not in statistics_of(plain["teacher"], "tiny")
    thumbnails.num_parts, thumbnails.logits = 1, lambda features_BD: 5 * features_BD
    seen = observe(models, thumbnails)
    for name, model in models.items():
        completed = model.complete(images(), centre(), generator=torch.Generator())
        expected = classifier_score(5 * thumbnails(completed).numpy())
        score = statistics_of(seen[name], "tiny")["classifier_score_tiny"]
        assert score.of(np.ones((1, 12)))[0] == pytest.approx(expected)
        assert not score.has_interval


def test_a_model_that_completes_in_its_own_way_is_not_given_what_its_parent_would_paint(thumbnails):
    class Both(torch.nn.Module):
        def complete(self, images_BCHW, visible_BHW, *, generator):
            return images_BCHW

        def training_loss(self, images_BCHW, visible_BHW, *, generator):
            return torch.zeros(len(images_BCHW))

        def complete_and_loss(self, images_BCHW, visible_BHW):
            return images_BCHW, torch.ones(len(images_BCHW))

    class Own(Both):
        def complete(self, images_BCHW, visible_BHW, *, generator):
            return torch.zeros_like(images_BCHW)

    found = observe({"teacher": Both(), "unlearned": Own()}, thumbnails)
    assert found["teacher"].own_loss_N.tolist() == [1.0] * 12  # from the one pass
    assert found["unlearned"].own_loss_N.tolist() == [0.0] * 12
    assert (found["unlearned"].hole_error_N > 0).all()


def test_features_of_some_images_are_those_of_observing_these_alone(filler, thumbnails):
    models = {"teacher": filler(), "unlearned": filler(bias=0.5)}
    observer = SetObserver(models, thumbnails, set_name="forget", num_images=12, seed=0, device=CPU, max_features=4)
    for first in range(0, 12, 2):  # batches of two: some hold none of the four
        observer.see(images()[first : first + 2], centre(2))
    whole, some = observe(models, thumbnails)["unlearned"], observer.observations()["unlearned"]
    assert len(some.featured_N) == 4
    assert some.hole_error_N == pytest.approx(whole.hole_error_N)  # of all images
    assert np.flatnonzero(~np.isnan(some.feature_cosine_N)).tolist() == some.featured_N.tolist()
    assert some.feature_cosine_N[some.featured_N] == pytest.approx(whole.feature_cosine_N[some.featured_N])
    expected = thumbnails(images()[some.featured_N]).numpy()  # four images are fewer than twice the five features
    assert some.original_features.rows_RD == pytest.approx(expected)
    found = statistics_of(some, "means")
    assert found["feature_cosine_means"].num_images == found["kid_means"].num_images == 4
    assert found["feature_cosine_means"].of(np.ones((1, 12)))[0] == pytest.approx(
        some.feature_cosine_N[some.featured_N].mean()
    )
