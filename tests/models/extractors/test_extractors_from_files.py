"""Extractors whose weights the user names: a tiny random CLIP directory, and the FID's network with random weights."""

import contextlib
import hashlib
import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from i2i_unlearn.models.extractors import extractor_label, extractor_name, inception_v3, load_extractor
from i2i_unlearn.models.pixels import to_float, to_uint8
from i2i_unlearn.support.errors import UserError
from i2i_unlearn.support.files import digest_file, digest_folder
from i2i_unlearn.support.torchvision_compat import ensure_torchvision

ensure_torchvision()
CPU = torch.device("cpu")
COMMIT = "0123456789" * 4


def images(num=3, height=20, width=20, channels=3):
    return to_float(
        to_uint8(torch.rand(num, channels, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    )


def refused(setting):
    """The one line that tells why."""
    with pytest.raises(UserError) as caught:
        load_extractor(setting, CPU)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- how they are named ---


def test_paths_stay_out_of_the_findings_and_digests_are_in_the_lineage(tmp_path):
    (tmp_path / "weights").write_bytes(b"abc")
    digest = digest_folder(tmp_path)
    assert extractor_label(f"clip:{tmp_path}") == extractor_label(f"clip:{tmp_path}@{digest}") == f"clip@{digest}"
    assert (
        extractor_label(f"inception_v3:{tmp_path / 'weights'}") == f"inception_v3@{hashlib.sha256(b'abc').hexdigest()}"
    )
    assert extractor_name("clip:/secret/folder") == extractor_label("clip:/secret/folder") == "clip"
    assert extractor_label(f"clip:openai/clip-vit-base-patch32@{COMMIT}") == f"clip@{COMMIT}"
    assert extractor_label("efficientnet_lite0") == "efficientnet_lite0"


def test_what_is_not_known_or_names_nothing_is_refused():
    assert "choose one of: efficientnet_lite0, inception_v3, clip" in refused("resnet:here")
    assert "write efficientnet_lite0 alone" in refused("efficientnet_lite0:weights.pth")
    assert "names no file or folder" in refused("clip:")
    assert "does not say which" in refused("clip")


# --- CLIP ---


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    from transformers import CLIPConfig, CLIPModel

    folder = tmp_path_factory.mktemp("clip") / "m@ster"  # an @ in a path is no pin
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        vision_config={**sizes, "image_size": 16, "patch_size": 8},
        text_config={**sizes, "vocab_size": 20, "max_position_embeddings": 8},
        projection_dim=12,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPModel(config).save_pretrained(folder)
    settings = {
        **{"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 16}, "crop_size": 16, "resample": 3},
        **{"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 22), (32, 32)])
def test_clip_gives_the_image_embeddings_of_transformers(clip_folder, height, width):
    from transformers import CLIPImageProcessor, CLIPModel

    extractor = load_extractor(f"clip:{clip_folder}", CPU)
    given = images(height=height, width=width)
    pictures = [Image.fromarray(picture) for picture in to_uint8(given).permute(0, 2, 3, 1).numpy()]
    pixels = CLIPImageProcessor.from_pretrained(clip_folder)(pictures, return_tensors="pt")["pixel_values"]
    model = CLIPModel.from_pretrained(clip_folder).eval()
    with torch.no_grad():
        expected = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
    found = extractor(given)
    assert (found.shape, found.dtype, extractor.num_features) == ((3, 12), torch.float32, 12)
    # the library rounds what it resized to bytes, we do not
    assert nn.functional.cosine_similarity(found, expected).min() > (0.9999 if height == width == 16 else 0.99)


def test_clip_sees_grey_images_as_grey_whatever_the_batch(clip_folder):
    extractor = load_extractor(f"clip:{clip_folder}", CPU)
    grey = images(30, channels=1)
    found = extractor(grey)
    assert torch.allclose(found, extractor(grey.expand(-1, 3, -1, -1)), atol=1e-5)
    assert torch.allclose(found[28:], extractor(grey[28:]), atol=1e-5)


def test_a_pinned_clip_is_checked(clip_folder, tmp_path):
    digest = digest_folder(clip_folder)
    load_extractor(f"clip:{clip_folder}@{digest}", CPU)
    other = shutil.copytree(clip_folder, tmp_path / "other")
    (other / "preprocessor_config.json").write_text("{}")
    assert f"{digest} was asked for" in refused(f"clip:{other}@{digest}")


def test_a_clip_that_is_not_there_or_none_is_refused_in_one_line(clip_folder, tmp_path):
    assert "there is no folder /nowhere" in refused("clip:/nowhere")
    assert "needs its commit" in refused("clip:openai/clip-vit-base-patch32")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "has no config.json" in refused(f"clip:{empty}")
    other = shutil.copytree(clip_folder, tmp_path / "other")
    (other / "config.json").write_text('{"model_type": "vit_mae"}')
    assert "model_type='vit_mae'" in refused(f"clip:{other}")
    broken = shutil.copytree(clip_folder, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"nothing")
    assert "cannot be read" in refused(f"clip:{broken}")


def test_a_clip_of_the_hub_that_cannot_be_had_is_refused_in_one_line(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "cannot be fetched from the hub" in refused(f"clip:nobody/nothing@{COMMIT}")


# --- InceptionV3 ---


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of random weights in the place of the FID's, and its digest."""
    fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        patch.setattr(fidelity, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(fidelity.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        network = fidelity.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def extractor(weights, monkeypatch):
    monkeypatch.setattr(inception_v3, "SHA256", digest_file(weights))
    return load_extractor(f"inception_v3:{weights}", CPU)


def test_inception_gives_the_features_and_logits_that_torchmetrics_asks_for(extractor, weights):
    from torchmetrics.image.fid import NoTrainInceptionV3

    given = images(12, channels=1)
    theirs = NoTrainInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"], str(weights), antialias=False)
    with torch.no_grad():
        features, logits = theirs._torch_fidelity_forward(to_uint8(given).expand(-1, 3, -1, -1))
    found = extractor(given)
    assert found.shape == (12, extractor.num_features)
    assert torch.allclose(found, features, rtol=1e-4, atol=1e-5)
    assert torch.allclose(extractor.logits(found), logits, rtol=1e-4, atol=1e-4)


def test_other_weights_than_the_fids_are_refused(weights):
    assert f"{inception_v3.SHA256} was asked for" in refused(f"inception_v3:{weights}")
    assert "leave the pin out" in refused(f"inception_v3:{weights}@{digest_file(weights)}")
    assert "is not a file" in refused("inception_v3:/nowhere.pth")


def test_weights_that_would_run_code_are_not_read(tmp_path, monkeypatch):
    class Runs:
        def __reduce__(self):
            return (np.ndarray, ((1,),))

    path = tmp_path / "weights.pth"
    torch.save({"weight": Runs()}, path)
    monkeypatch.setattr(inception_v3, "SHA256", digest_file(path))
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        load_extractor(f"inception_v3:{path}", CPU)


def test_without_file_cache_and_network_one_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(inception_v3, "URL", "file:///nowhere/weights.pth")
    with contextlib.ExitStack() as stack:
        before = torch.hub.get_dir()
        stack.callback(torch.hub.set_dir, before)
        torch.hub.set_dir(str(tmp_path))
        message = refused("inception_v3")
    assert "name a file: inception_v3:FILE" in message
    assert str(tmp_path) in message
