"""Every odd kind of image, with pixels worked out by hand."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from i2i_unlearn.data.images.decoding import Depths, Reading, decode, open_image
from i2i_unlearn.support.errors import UserError
from tests.support.says import says


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def grey(*rows, dtype=np.uint8):
    return Image.fromarray(np.array(rows, dtype=dtype))


def one_pixel(mode, colour):
    return Image.new(mode, (1, 1), colour)


def turned(orientation):
    """Two grey pixels side by side, 10 and 200, and how the camera was held."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(grey([10, 200]), exif=exif)


def palette_image(**options):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    return encoded(image, **options)


def png_of_16_bit_colour(red, green, blue):
    """Pillow cannot write one, so chunk by chunk."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + struct.pack(">HHH", red, green, blue))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def two_frames():
    return encoded(one_pixel("L", 50), "GIF", save_all=True, append_images=[one_pixel("L", 90)])


# what it is: (bytes, channels, expected pixels (C, H, W))
KINDS = {
    "8 bit grey": (encoded(grey([0, 7], [128, 255])), 1, [[[0, 7], [128, 255]]]),
    "8 bit colour": (encoded(one_pixel("RGB", (1, 2, 3))), 3, [[[1]], [[2]], [[3]]]),
    "grey as colour": (encoded(one_pixel("L", 9)), 3, [[[9]], [[9]], [[9]]]),
    "colour as grey: .299 * 255": (encoded(one_pixel("RGB", (255, 0, 0))), 1, [[[76]]]),
    "camera turned by 180 degrees": (turned(3), 1, [[[200, 10]]]),
    "camera turned by 90 degrees: left becomes top": (turned(6), 1, [[[10], [200]]]),
    "camera turned by 270 degrees: left becomes bottom": (turned(8), 1, [[[200], [10]]]),
    "transparent black is white": (encoded(one_pixel("RGBA", (0, 0, 0, 0))), 3, [[[255]], [[255]], [[255]]]),
    "half transparent red on white": (encoded(one_pixel("RGBA", (255, 0, 0, 51))), 3, [[[255]], [[204]], [[204]]]),
    "half transparent grey on white": (encoded(one_pixel("LA", (0, 51))), 1, [[[204]]]),
    "palette": (palette_image(), 3, [[[255, 0]], [[0, 0]], [[0, 255]]]),
    "palette with a transparent entry": (palette_image(transparency=1), 3, [[[255, 255]], [[0, 255]], [[0, 255]]]),
    "1 bit": (encoded(grey([False, True], dtype=bool)), 1, [[[0, 255]]]),
    "16 bit grey": (encoded(grey([0, 255, 256, 65535], dtype=np.uint16)), 1, [[[0, 0, 1, 255]]]),
    "16 bit grey as colour": (encoded(grey([256], dtype=np.uint16)), 3, [[[1]], [[1]], [[1]]]),
    "16 bit colour": (png_of_16_bit_colour(255, 256, 65535), 3, [[[0]], [[1]], [[255]]]),
    "32 bit integers that fit": (encoded(grey([256, 65535], dtype=np.int32), "TIFF"), 1, [[[1, 255]]]),
    "CMYK": (encoded(one_pixel("CMYK", (0, 255, 255, 0)), "TIFF"), 3, [[[255]], [[0]], [[0]]]),
    "several frames": (two_frames(), 1, [[[50]]]),
    "wide: the middle": (encoded(grey([0, 100, 110, 255], [0, 120, 130, 255])), 1, [[[100, 110], [120, 130]]]),
    "high: the middle": (encoded(grey([0], [100], [110], [255])), 1, [[[100], [110]]]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_of_every_kind_of_image(kind):
    image, channels, expected = KINDS[kind]
    expected = np.array(expected)
    pixels = decode(image, image_size=expected.shape[1:], num_channels=channels, name="x")
    assert pixels.dtype == np.uint8
    assert pixels.tolist() == expected.tolist()


def test_the_inverted_inks_of_a_cmyk_jpeg_are_understood():
    red = encoded(one_pixel("CMYK", (0, 255, 255, 0)), "JPEG", quality=100)
    pixels = decode(red, image_size=(1, 1), num_channels=3, name="x").ravel().astype(int)
    assert abs(pixels - [255, 0, 0]).max() <= 3  # JPEG rounds


@pytest.mark.parametrize("size", [(3, 5), (64, 64), (100, 7)])
def test_a_constant_image_stays_constant_at_every_size(size):
    constant = encoded(Image.new("RGB", (31, 17), (40, 50, 60)))
    pixels = decode(constant, image_size=size, num_channels=3, name="x")
    assert pixels.shape == (3, *size)
    assert [set(channel.ravel().tolist()) for channel in pixels] == [{40}, {50}, {60}]


def noise(kind):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), kind)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", ("cannot be decoded", "cannot identify image file")),
        (b"no image at all", ("cannot be decoded", "cannot identify image file")),
        (noise("PNG")[:1000], ("cannot be decoded", "truncated")),
        (noise("JPEG")[:1000], ("cannot be decoded", "truncated")),
        (noise("PNG")[:20], ("cannot be decoded", "(")),
        (encoded(grey([0.5], dtype=np.float32), "TIFF"), ("32 bit floats", "8 or 16 bit")),
        (encoded(grey([-1, 70000], dtype=np.int32), "TIFF"), ("from -1 to 70000", "8 or 16 bit")),
    ],
)
def test_an_image_that_is_damaged_or_of_unknown_range_is_named_with_the_reason(image, reason):
    with says(UserError, "a.parquet row 3: ", *reason) as caught:
        decode(image, image_size=(8, 8), num_channels=3, name="a.parquet row 3")
    assert "BytesIO" not in str(caught.value)


# --- settings ---


def test_orientation_is_ignored_where_the_training_ignored_it():
    picture = open_image(turned(6), name="x", reading=Reading(exif_orientation=False))
    assert np.asarray(picture).tolist() == [[10, 200]]


@pytest.mark.parametrize(("bits", "top"), [(8, 255), (10, 1023), (12, 4095), (16, 65535)])
def test_the_top_of_the_bits_in_use_is_white(bits, top):
    picture = open_image(encoded(grey([0, top // 2, top], dtype=np.uint16)), name="x", reading=Reading(bits=bits))
    assert np.asarray(picture).tolist() == [[0, 127, 255]]


def test_values_beyond_the_bits_in_use_and_deep_colour_are_refused():
    with says(UserError, "x: ", "from 0 to 4096", "images.bits, 12"):
        open_image(encoded(grey([0, 4096], dtype=np.uint16)), name="x", reading=Reading(bits=12))
    with says(UserError, "x: ", "in colour", "images.bits is 12", "8 bits"):
        open_image(png_of_16_bit_colour(1, 2, 3), name="x", reading=Reading(bits=12))


def test_empty_top_bits_are_told_of_all_images_together():
    def told(*values, bits=16, in_colour=False):
        depths, reading = Depths(), Reading(bits=bits)
        for value in values:
            image = png_of_16_bit_colour(*[value] * 3) if in_colour else encoded(grey([value], dtype=np.uint16))
            open_image(image, name="x", reading=reading, depths=depths)
        open_image(encoded(grey([1])), name="x", depths=depths)  # 8 bits do not count
        return depths.warning(reading)

    assert told(100, 40000) == told() == told(2048, bits=12) == ""
    assert "2 images of 16 bits per channel use at most 12 bits" in told(100, 4095)
    assert "set images.bits to that" in told(4095)
    assert "save those in colour with 8 bits" in told(4095, in_colour=True)


def test_the_most_pixels_are_a_setting_and_pillows_own_limit_stays_as_it_was(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8)  # Pillow refuses twice as many
    picture = encoded(grey([5] * 20))
    with says(UserError, "x: ", "20 x 1 pixels", "images.max_pixels, 19", "params.yaml"):
        open_image(picture, name="x", reading=Reading(max_pixels=19))
    assert open_image(picture, name="x", reading=Reading(max_pixels=20)).size == (20, 1)
    assert Image.MAX_IMAGE_PIXELS == 8


# --- EXIF that cannot be read, decoders that raise anything ---


def exif_entry(tag, kind, content):
    """An EXIF block that turns by 90 degrees and has one more entry, of this type."""
    entries = [(0x112, 3, 1, struct.pack("<H", 6)), (0x128, 3, 1, struct.pack("<H", 2)), (tag, kind, 1, content)]
    body = struct.pack("<H", len(entries))
    extra, at = b"", 8 + 2 + 12 * len(entries) + 4
    for number, type_, count, value in sorted(entries):
        long = len(value) > 4
        body += struct.pack("<HHL", number, type_, count) + (struct.pack("<L", at) if long else value.ljust(4, b"\0"))
        extra += value if long else b""
    return b"Exif\0\0II*\0\x08\0\0\0" + body + b"\0" * 4 + extra


@pytest.mark.parametrize(
    "entry",
    [
        (0x10F, 5, struct.pack("<LL", 72, 1)),  # maker as a fraction
        (0x132, 11, struct.pack("<f", 1.5)),  # date as a number
        (0x8769, 16, struct.pack("<Q", 2**63 + 5)),  # a pointer beyond everything
        (0x8769, 8, struct.pack("<h", -5)),
        (0x11A, 11, struct.pack("<f", float("nan"))),
    ],
)
def test_a_picture_with_whole_pixels_and_odd_exif_is_whole_and_upright(entry):
    image = Image.fromarray(np.repeat(np.repeat(np.uint8([[0, 255]]), 16, 0), 16, 1))  # black, white: 16 x 32
    picture = open_image(encoded(image, "JPEG", exif=exif_entry(*entry)), name="x")
    assert picture.size == (16, 32)
    assert np.asarray(picture)[:8].max() < 50 < 200 < np.asarray(picture)[-8:].min()  # left becomes top


def test_exif_that_stops_the_file_from_being_opened_is_left_out():
    odd = exif_entry(0x11A, 7, b"\x2c")  # resolution as a byte of unknown meaning
    jpeg = encoded(Image.new("L", (32, 16), 200), "JPEG", exif=odd)
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(jpeg))
    picture = open_image(jpeg, name="x")
    assert (picture.size, picture.getpixel((5, 5))) == ((32, 16), 200)


@pytest.mark.parametrize("error", [RuntimeError, OverflowError, TypeError, MemoryError, KeyError, ZeroDivisionError])
def test_whatever_a_decoder_raises_the_image_is_a_broken_one_with_its_name(monkeypatch, error):
    def load(self):
        raise error("odd")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    with says(UserError, "cat/a.png: the image cannot be decoded", "odd"):
        open_image(encoded(grey([1])), name="cat/a.png")


@pytest.mark.parametrize(("premultiplied", "middle"), [(True, 177), (False, 152)])
def test_a_grey_tiff_with_alpha_is_laid_over_white_once(premultiplied, middle):
    # Grey 50 at alpha 128/255 over white: 50 + 255 - 128 = 177 where the file holds grey times alpha; else
    # 50 * 128/255 + 255 - 128 = 152.
    pixels = np.array([[100, 255], [50, 128], [0, 0]], np.uint8).tobytes()
    tags = {256: 3, 257: 1, 258: 8 | 8 << 16, 259: 1, 262: 1, 273: 8, 277: 2, 278: 1, 279: len(pixels), 284: 1}
    tags[338] = 1 if premultiplied else 2
    entries = [struct.pack("<HHLL", tag, 3 if value < 2**16 else 4, 1, value) for tag, value in tags.items()]
    entries[2] = struct.pack("<HHLL", 258, 3, 2, 8 | 8 << 16)
    head = b"II*\0" + struct.pack("<L", 8 + len(pixels)) + pixels
    file = head + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    for num_channels in (1, 3):
        found = decode(file, image_size=(1, 3), num_channels=num_channels, name="x")
        assert found.tolist() == [[[100, middle, 255]]] * num_channels
