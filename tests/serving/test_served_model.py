"""The registered version as a program loads it."""

import datetime

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from tests.registry.world import SIZE
from tests.serving.pictures import from_png, pixels, png


def test_pictures_are_completed_as_numbers_are(loaded):
    images = pixels()
    expected = loaded.predict(images)
    answer = loaded.predict(pd.DataFrame({"image": [png(image) for image in images]}))
    assert list(answer.columns) == ["image"]
    np.testing.assert_array_equal(np.stack([from_png(text) for text in answer["image"]]), expected)
    np.testing.assert_array_equal(expected[:, :, : SIZE // 2], images[:, :, : SIZE // 2])
    assert not np.array_equal(expected, images)


def test_what_was_asked_before_changes_nothing(loaded):
    images = pixels()
    how = {"operator": "random_patches", "seed": 7}
    first = loaded.predict(images, params=how)
    loaded.predict(pixels(5, seed=1), params=how)
    np.testing.assert_array_equal(loaded.predict(images, params=how), first)
    assert not np.array_equal(loaded.predict(images, params={**how, "seed": 8}), first)


def test_many_images_are_completed_in_parts_and_each_as_it_is_alone(loaded):
    images = pixels(230)
    together = loaded.predict(images).astype(int)
    alone = np.concatenate([loaded.predict(images[number : number + 1]) for number in (0, 99, 100, 229)])
    assert np.abs(together[[0, 99, 100, 229]] - alone).max() <= 1  # sums in another order


def test_a_mask_of_ones_own_beside_the_operators(loaded):
    images, own = pixels(2), np.ones((SIZE, SIZE), dtype=int)
    own[5:7, 5:7] = 0  # in one patch of four
    found = loaded.predict({"image": images, "visible": np.array([own, own])})
    changed = (found != images).any(axis=-1)
    assert changed[:, 5:7, 5:7].any()
    assert not changed[:, own.astype(bool)].any()
    asked = [{"image": png(images[0])}, {"image": png(images[1]), "visible": own.tolist()}]
    first, second = (from_png(text) for text in loaded.predict(asked)["image"])
    np.testing.assert_array_equal(first, loaded.predict(images[:1])[0])
    assert not (second != images[1]).any(axis=-1)[own.astype(bool)].any()


def test_what_was_not_judged_is_told_once_in_the_log(loaded, caplog):
    model = loaded.unwrap_python_model()
    before = dict(model.served)
    assert before["operators"] == ""  # an original: nobody judged it, and nobody is warned
    try:
        model.served = {**before, "operators": "half_left:0.5"}
        loaded.predict(pixels())
        assert "not judged" not in caplog.text
        for _ in range(2):
            loaded.predict(pixels(), params={"operator": "half_right"})
        assert caplog.text.count("operator half_right:0.5 was not judged") == 1
        own = np.ones((SIZE, SIZE), dtype=int)
        own[5:7, 5:7] = 0
        loaded.predict({"image": pixels(1), "visible": np.array([own])})
        assert "own masks" in caplog.text
    finally:
        model.served = before


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"operator": "nope"}, "operator='nope' is not known"),
        ({"keep_fraction": 0.0}, "keep_fraction=0.0 must lie between 0 and 1"),
        ({"seed": -1}, "seed=-1 must be a whole number"),
    ],
)
def test_a_wrong_parameter_is_one_line(loaded, how, told):
    with pytest.raises(MlflowException, match=told) as raised:
        loaded.predict(pixels(), params=how)
    assert raised.value.get_http_status_code() == 400
    assert "\n" not in str(raised.value)


def test_the_version_says_what_it_takes(loaded):
    assert loaded.metadata.metadata == {"image_size": [SIZE, SIZE], "num_channels": 1}
    params = {spec.name: spec.default for spec in loaded.metadata.get_params_schema().params}
    assert params == {"operator": "half_left", "keep_fraction": 0.5, "seed": 0}


# --- with a guard ---


@pytest.fixture
def load(served, monkeypatch):
    """`load(folder)`: the version as a server loads it that has this guard."""
    from mlflow import pyfunc

    def load(folder):
        monkeypatch.setenv("I2I_UNLEARN_GUARD", str(folder))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", served.tracking_uri)
        return pyfunc.load_model(served.uri)

    return load


def test_a_guard_refuses_what_is_near_and_leaves_the_rest_as_it_was(load, guard_folder, loaded):
    images = pixels(4)
    without = loaded.predict(images)
    guarded = load(guard_folder(images[2:3]))
    refusal = "refused by the filter for pending forget requests"
    found = guarded.predict(images)
    assert found[2] == {"refused": refusal}
    for number in (0, 1, 3):
        np.testing.assert_array_equal(found[number], without[number])
    records = guarded.predict([png(image) for image in images]).to_dict("records")
    assert records[2]["image"] is None
    assert [one["refused"] for one in records] == [None, None, refusal, None]
    np.testing.assert_array_equal(from_png(records[0]["image"]), without[0])
    np.testing.assert_array_equal(guarded.predict(images[:2]), without[:2])


def test_an_output_that_is_near_is_refused_though_the_input_is_not(load, guard_folder, loaded):
    blank = pixels(1)
    blank[:, :, SIZE // 2 :] = 0
    guard = load(guard_folder(loaded.predict(blank)))
    assert guard.predict(blank)[0].keys() == {"refused"}


def test_a_server_does_not_start_without_the_guard_it_was_told_of(load, guard_folder, tmp_path):
    with pytest.raises(Exception, match="nowhere: no guard"):
        load(tmp_path / "nowhere")
    with pytest.raises(Exception, match="expired on 2020-01-01"):
        load(guard_folder(pixels(1), datetime.date(2020, 1, 1)))
