import io
import zlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from i2i_unlearn.serving.payload import encode, read_payload
from i2i_unlearn.support.errors import UserError
from tests.serving.pictures import as_bytes, from_png, in_base64, png
from tests.support.says import says

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8, 1) * 5
COLOUR = np.arange(144, dtype=np.uint8).reshape(6, 8, 3)


def read(data, num_channels=1):
    return read_payload(data, (6, 8), num_channels)


def line(data, num_channels=1):
    with says(UserError) as told:
        read(data, num_channels)
    return str(told.value)


@pytest.mark.parametrize(("image", "num_channels"), [(GREY, 1), (COLOUR, 3)])
def test_what_is_encoded_comes_back_to_the_pixel(image, num_channels):
    asked = read([encode(image)], num_channels)
    assert asked.encoded
    np.testing.assert_array_equal(asked.images_BHWC[0], image)
    np.testing.assert_array_equal(from_png(encode(image)), image)


def test_numbers_of_any_type_are_pixels_if_they_are_whole():
    for array in (GREY, GREY.astype(float), GREY.astype(np.int64)):
        asked = read(array[None])
        assert (asked.images_BHWC.dtype, asked.encoded) == (np.uint8, False)
        np.testing.assert_array_equal(asked.images_BHWC[0], GREY)
    assert read((GREY > 100)[None]).images_BHWC.max() == 1
    assert read(GREY[None][:0]).images_BHWC.shape == (0, 6, 8, 1)  # no image is no fault
    for wrong in (GREY + 0.5, GREY.astype(int) - 1, GREY.astype(int) + 100, np.full(GREY.shape, np.nan)):
        assert "whole numbers from 0 to 255" in line(wrong[None])


def test_jpeg_and_a_data_url_are_read():
    flat = np.full((6, 8), 77, dtype=np.uint8)
    assert (read([in_base64(as_bytes(flat, "JPEG"))]).images_BHWC == 77).all()
    assert (read([f"data:image/png;base64,{png(flat)}"]).images_BHWC == 77).all()


def test_a_photograph_that_lies_is_turned_upright():
    lying = GREY[..., 0].T  # 8 x 6; orientation 8: turned by 90 degrees
    exif = Image.Exif()
    exif[0x0112] = 8
    (found,) = read([in_base64(as_bytes(lying, "PNG", exif=exif))]).images_BHWC
    np.testing.assert_array_equal(found[..., 0], np.rot90(lying))
    assert line([png(lying)]) == "image 1: is 8 x 6 pixels (height x width); the model takes 6 x 8"


def test_masks_are_pictures_numbers_or_null():
    kept = np.zeros((6, 8), dtype=bool)
    kept[:, :3] = True
    masks = [png(kept.astype(np.uint8) * 255), None, kept.astype(int).tolist(), float("nan")]
    frame = pd.DataFrame({"image": [png(GREY)] * 4, "visible": masks})
    first, second, third, fourth = read(frame).visible
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(third, kept)
    assert second is None
    assert fourth is None
    asked = read({"image": GREY[None], "visible": kept[None]})
    np.testing.assert_array_equal(asked.visible[0], kept)
    assert (
        read([{"image": png(GREY)}, {"image": png(GREY), "visible": png(kept.astype(np.uint8) * 255)}]).visible[0]
        is None
    )


def test_masks_that_make_no_sense_are_refused():
    def with_mask(mask):
        return {"image": [png(GREY)], "visible": [mask]}

    assert line(with_mask(png(np.zeros((6, 8), dtype=np.uint8)))).startswith("mask 1: keeps nothing")
    assert line(with_mask(np.ones((6, 8)).tolist())).startswith("mask 1: hides nothing")
    for wrong in (np.full((6, 8), 2).tolist(), [1, 0]):
        assert line(with_mask(wrong)).startswith("mask 1: must be (6, 8) numbers 0")
    assert line(with_mask(png(np.zeros((5, 8), dtype=np.uint8)))).startswith("mask 1: is 5 x 8 pixels")
    assert line({"image": [png(GREY)] * 2, "visible": [None]}).startswith("1 masks were sent for 2 images")


def test_a_file_that_is_large_or_unpacks_to_much_is_refused_unpacked_or_not():
    good = as_bytes(GREY)
    chunk = b"zTXt" + b"a\x00\x00" + zlib.compress(b" " * 100_000_000, 9)
    text = (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    stuffed = good[:33] + text + good[33:]  # behind the header
    assert len(stuffed) < 110_000
    assert line([in_base64(stuffed)]) == "image 1: is neither PNG nor JPEG; send one of these in base64"
    wide = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(wide, "PNG")
    assert line([in_base64(wide.getvalue())]).startswith("image 1: is")
    most = 8 * 6 * 8 + 2**20  # more than any picture of the size has
    assert line([in_base64(bytes(most + 3))]).startswith(f"image 1: has more than {most} bytes")


@pytest.mark.parametrize("length", [4, 30, 45, 60])
def test_a_truncated_file_is_refused(length):
    noise = np.random.default_rng(0).integers(0, 256, (6, 8), dtype=np.uint8)
    assert line([in_base64(as_bytes(noise)[:length])]) in (
        "image 1: is neither PNG nor JPEG; send one of these in base64",
        "image 1: the picture is damaged; send it again",
    )


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ([png(GREY), "öä"], "image 2: is not base64"),
        ([png(GREY), None], "image 2: is not text"),
        ([png(GREY)[:-3]], "image 1: is not base64"),
        (["R0lGODdhAQABAIAAAAAAAAAAACwAAAAAAQABAAACAkQBADs="], "image 1: is neither PNG nor JPEG"),  # a GIF
        ([png(COLOUR)], "image 1: is a colour picture; send a grey one"),
        ([png(GREY), png(GREY[:5])], "image 2: is 5 x 8 pixels (height x width); the model takes 6 x 8"),
        (np.zeros((1, 1, 6, 8)), r"images of shape (1, 1, 6, 8) were sent; the model takes (images, 6, 8, 1)"),
        (GREY, "images of shape (6, 8, 1) were sent"),
        ([[1, 2], [3]], "the images differ in size or do not hold numbers only"),
        (None, "the images differ in size or do not hold numbers only"),
        ({}, "columns none were sent; send `image`"),
        (pd.DataFrame({0: ["a"]}), "columns 0 were sent"),
        ({"image": [png(GREY)], "mask": [1]}, "columns image, mask were sent; send `image` and optionally `visible`"),
        ([{"visible": None}], "columns visible were sent"),
    ],
)
def test_every_fault_is_told(data, told):
    assert line(data).startswith(told)


def test_a_grey_picture_is_refused_by_a_model_of_colour():
    assert line([png(GREY)], 3) == "image 1: is a grey picture; send a colour one"
