"""Pictures keep their values or are refused; what is done to them is counted; reading one runs nothing."""

import io
import struct
import subprocess
import zlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from infoplane.data.pictures import check_alpha, decode, look, notes_of

COLOURS = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
GREY = COLOURS[..., 0]


def png(pixels: np.ndarray, colour: int, bits: int) -> bytes:
    """A PNG straight from its definition: (H, W, channels) of whole numbers of this many bits (8 or 16)."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + row.astype(f">u{bits // 8}").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(pixels: np.ndarray, *, form: int = 1) -> bytes:
    """An uncompressed little-endian TIFF straight from its definition: (H, W, channels); form 2 has signs, 3 points."""
    height, width, channels = pixels.shape
    content = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    fields = {
        256: [width], 257: [height], 258: [8 * pixels.itemsize] * channels, 259: [1],
        262: [1 if channels < 3 else 2], 273: [8], 277: [channels], 278: [height], 279: [len(content)],
        339: [form] * channels,
    }  # fmt: skip
    start = 8 + len(content)
    beside, entries = b"", b""
    for tag, values in sorted(fields.items()):
        packed = struct.pack(f"<{len(values)}H", *values)
        if len(packed) > 4:
            at = start + 2 + 12 * len(fields) + 4 + len(beside)
            beside, packed = beside + packed, struct.pack("<I", at)
        entries += struct.pack("<HHI", tag, 3, len(values)) + packed.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", start) + content + struct.pack("<H", len(fields)) + entries + bytes(4) + beside


def saved(image: Image.Image, form: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def read(content: bytes, alpha: str | None = None) -> tuple[np.ndarray, list[str]]:
    """The pixels and the notes of one picture; that its header told the truth is checked along the way."""
    done: Counter[str] = Counter()
    (width, height), grey = look(content, "the file", alpha)
    pixels = decode(content, "the file", done, alpha)
    assert pixels.shape == (height, width, 1 if grey else 3)
    return pixels, notes_of(done, 1)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "WEBP", "GIF"])
def test_grey_and_colours_come_back_as_they_were(form):
    grey, notes = read(saved(Image.fromarray(GREY), form, lossless=True))
    if form == "WEBP":  # has no grey images
        assert np.array_equal(grey, np.stack([GREY] * 3, axis=-1))
    else:
        assert np.array_equal(grey[..., 0], GREY)
    assert notes == (["1 of 1 image has a palette of greys: it became grey"] if form == "GIF" else [])
    if form != "GIF":
        colours, notes = read(saved(Image.fromarray(COLOURS), form, lossless=True))
        assert np.array_equal(colours, COLOURS)
        assert notes == []


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_of_any_colour_type_are_refused(refuses, colour, channels):
    pixels = np.random.default_rng(1).integers(0, 250, (4, 5, channels))
    with refuses("cannot use the pixels of the file", "16 bits a channel", "8 bits per channel", "divide by"):
        read(png(pixels, colour, 16))
    if channels in (2, 4):
        pixels[..., -1] = 255
    assert read(png(pixels, colour, 8))[0].tolist() == pixels[..., : (channels - 1) | 1].tolist()


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("kind", "form"), [("u2", 1), ("u1", 1), ("f4", 3)])
def test_tiffs_of_more_than_eight_bits_are_refused(refuses, channels, kind, form):
    content = tiff(np.ones((4, 5, channels), kind), form=form)
    if kind == "u1":
        assert (read(content, "drop")[0] == 1).all()
        return
    # Some Pillow cannot read at all.
    with refuses("the file"):
        read(content)


def test_signed_bytes_are_refused(refuses):
    with refuses("8 bits a channel, with a sign or a point"):
        read(tiff(np.full((4, 5, 1), -1, "i1"), form=2))


def test_shapes_that_live_in_the_alpha_channel_are_not_lost(refuses):
    cover = np.where(np.arange(20).reshape(4, 5) % 3, 255, 0).astype(np.uint8)
    glyph = np.concatenate([np.zeros((4, 5, 3), np.uint8), cover[..., None]], axis=-1)
    content = saved(Image.fromarray(glyph), "PNG")
    with refuses("can be seen through", "from 0 to 255", "white, black, drop, only", "--options alpha=white"):
        read(content)
    white, notes = read(content, "white")
    assert np.array_equal(white, np.stack([255 - cover] * 3, axis=-1))
    assert notes == ["1 of 1 image can be seen through: it was laid on white"]
    assert np.array_equal(read(content, "only")[0], cover[..., None])
    assert not read(content, "drop")[0].any()
    assert not read(content, "black")[0].any()


@pytest.mark.parametrize("ground", ["white", "black"])
def test_soft_edges_are_laid_on_the_ground(ground):
    cover = np.random.default_rng(2).integers(0, 256, (4, 5, 1))
    content = saved(Image.fromarray(np.concatenate([COLOURS, cover.astype(np.uint8)], axis=-1)), "PNG")
    expected = COLOURS * (cover / 255) + (255 if ground == "white" else 0) * (1 - cover / 255)
    assert np.abs(read(content, ground)[0] - expected).max() <= 1
    grey = np.concatenate([COLOURS[..., :1], cover.astype(np.uint8)], axis=-1)
    pixels, _ = read(saved(Image.fromarray(grey), "PNG"), ground)
    assert np.abs(pixels - expected[..., :1]).max() <= 1


def test_an_opaque_alpha_channel_is_dropped_and_counted(refuses):
    opaque = np.concatenate([COLOURS, np.full((4, 5, 1), 255, np.uint8)], axis=-1)
    pixels, notes = read(saved(Image.fromarray(opaque), "PNG"))
    assert np.array_equal(pixels, COLOURS)
    assert notes == ["1 of 1 image has an alpha channel that is opaque throughout: it was dropped"]
    # Transparency that a chunk of its own declares for one grey value or one palette entry.
    some = GREY.copy()
    some[0, 0] = 7
    with refuses("can be seen through"):
        read(saved(Image.fromarray(some), "PNG", transparency=7))
    palette = Image.fromarray(COLOURS).quantize(8)
    with refuses("can be seen through"):
        read(saved(palette, "PNG", transparency=bytes(range(8))))
    with refuses("unknown way to read transparent pixels", "'whit'", "did you mean 'white'"):
        check_alpha("whit")


def test_conversions_are_counted():
    palette = Image.fromarray(COLOURS).quantize(8)
    pixels, notes = read(saved(palette, "PNG"))
    assert np.array_equal(pixels, np.asarray(palette.convert("RGB")))
    assert notes == ["1 of 1 image has a palette of colours: it became RGB"]
    pixels, notes = read(saved(Image.fromarray(GREY > 99), "PNG"))
    assert np.array_equal(pixels[..., 0], (GREY > 99) * 255)
    assert "fewer than 8 bits" in notes[0]
    assert "is CMYK: it became RGB" in read(saved(Image.fromarray(COLOURS).convert("CMYK"), "TIFF"))[1][0]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    # A large block in the upper left corner: JPEG blurs, but not that far.
    stored = np.zeros((16, 24), np.uint8)
    stored[:8, :8] = 255
    turns = [
        lambda a: a, lambda a: a[:, ::-1], lambda a: a[::-1, ::-1], lambda a: a[::-1],
        lambda a: a.T, lambda a: np.rot90(a, -1), lambda a: a[::-1, ::-1].T, lambda a: np.rot90(a),
    ]  # fmt: skip
    pixels, notes = read(saved(Image.fromarray(stored), form, exif=exif, lossless=True))
    expected = turns[orientation - 1](stored)
    assert pixels.shape[:2] == expected.shape
    assert np.array_equal(pixels[..., 0] > 127, expected > 127)
    assert notes == ([] if orientation == 1 else ["1 of 1 image was turned as its EXIF orientation says"])


@pytest.mark.parametrize("form", ["GIF", "TIFF", "WEBP", "PNG"])
def test_the_first_of_several_frames_is_read(form):
    frames = [Image.fromarray(np.full((4, 5, 3), value, np.uint8)) for value in (200, 100, 0)]
    content = saved(frames[0], form, save_all=True, append_images=frames[1:], lossless=True)
    pixels, notes = read(content)
    assert (pixels == 200).all()
    assert any("first of 3 was read" in note for note in notes)


def test_reading_runs_nothing(refuses, monkeypatch):
    def started(*_, **__):
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    for name in ("call", "check_call", "run", "check_output"):
        monkeypatch.setattr(subprocess, name, started)
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n0 0 8 8 rectfill\nshowpage\n%%EOF\n"
    for content in (eps, b"", b"%PDF-1.4\n"):
        with refuses("cannot read the image the file", "png, jpg, jpeg"):
            read(content)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "an empty file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript (EPS)"),
        (b"8BPS\0\1" + bytes(40), "a Photoshop file (PSD)"),
        (saved(Image.fromarray(COLOURS), "ICO"), "an icon (ICO)"),
        (saved(Image.fromarray(COLOURS), "JPEG2000"), "JPEG 2000"),
        (saved(Image.fromarray(COLOURS), "PDF"), "a PDF"),
        (b"<?xml version='1.0'?><svg/>", "XML or a drawing (SVG)"),
        (b"<!DOCTYPE html>\n<title>404</title>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a pointer of Git LFS"),
        (b"not found\r\n", "a text"),
        (bytes(100), "zeros alone"),
        (b"\x99\x12" * 50, "no known picture"),
    ],
)
def test_what_is_called_like_a_picture_and_is_none_is_named(refuses, content, kind):
    with refuses(f"cannot read the image the file; received {kind}", "an intact png, jpg", "ppm or pnm file; replace"):
        read(content)


def bmp(pixels: np.ndarray, *, masks: tuple[int, ...] = (), down: bool = False) -> bytes:
    """A BMP of 32 bits straight from its definition: (H, W, 4) bytes as they lie in the file; `masks` make it a V4."""
    height, width = pixels.shape[:2]
    size, rows = (108, pixels[::-1]) if masks else (40, pixels[::-1])
    head = struct.pack("<IiiHHIIiiII", size, width, height, 1, 32, 3 if masks else 0, 4 * pixels.size, 0, 0, 0, 0)
    if down:
        head = head[:8] + struct.pack("<i", -height) + head[12:]
        rows = pixels
    head += struct.pack(f"<{len(masks)}I", *masks)
    head = head.ljust(size, b"\0")
    content = head + rows.tobytes()
    return b"BM" + struct.pack("<IHHI", 14 + len(content), 0, 0, 14 + size) + content


COVER = np.where(np.arange(20).reshape(4, 5) % 3, 255, 0).astype(np.uint8)


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize(
    ("masks", "order"),
    [
        ((), (2, 1, 0, 3)),  # the header says nothing of an alpha channel
        ((0xFF0000, 0xFF00, 0xFF, 0), (2, 1, 0, 3)),
        ((0xFF000000, 0xFF0000, 0xFF00, 0), (3, 2, 1, 0)),
        ((0xFF0000, 0xFF00, 0xFF, 0xFF000000), (2, 1, 0, 3)),
        ((0xFF, 0xFF00, 0xFF0000, 0xFF000000), (0, 1, 2, 3)),
    ],
)
def test_the_alpha_channel_of_a_bmp_is_read_like_that_of_a_png(refuses, masks, order, down):
    def packed(cover):
        rgba = np.concatenate([COLOURS, np.broadcast_to(np.uint8(cover), (4, 5))[..., None]], axis=-1)
        stored = np.empty_like(rgba)
        stored[..., list(order)] = rgba
        return bmp(stored, masks=masks, down=down), saved(Image.fromarray(rgba), "PNG")

    content, as_png = packed(COVER)
    with refuses("can be seen through", "from 0 to 255", "alpha: white, black, drop, only"):
        read(content)
    for alpha in ("white", "black", "drop", "only"):
        assert np.array_equal(read(content, alpha)[0], read(as_png, alpha)[0])
        assert read(content, alpha)[1] == read(as_png, alpha)[1]
    assert np.array_equal(read(content, "only")[0][..., 0], COVER)
    for nothing in (0, 255):  # what programs leave there that write no alpha channel
        pixels, notes = read(packed(nothing)[0])
        assert np.array_equal(pixels, COLOURS)
        assert notes == []
    with refuses("can be seen through", "from 7 to 7"):
        read(packed(7)[0])
    with refuses("cannot read the image the file"):
        read(content[:-7])


def netpbm(kind: int, most: int, pixels: np.ndarray) -> bytes:
    """A .pgm or .ppm straight from its definition; kinds 2 and 3 in digits, 5 and 6 in bytes."""
    head = f"P{kind}\n# a comment\n{pixels.shape[1]} {pixels.shape[0]}\n{most}\n".encode()
    if kind < 4:
        return head + b" ".join(str(value).encode() for value in pixels.ravel())
    return head + pixels.astype(">u2" if most > 255 else "u1").tobytes()


def test_netpbm_is_read_and_its_depth_is_looked_at(refuses):
    for kind, pixels in ((2, GREY[..., None]), (5, GREY[..., None]), (3, COLOURS), (6, COLOURS)):
        found, notes = read(netpbm(kind, 255, pixels))
        assert np.array_equal(found, pixels)
        assert notes == []
        found, notes = read(netpbm(kind, 15, pixels // 16))
        assert np.array_equal(found, pixels // 16 * 17)
        assert notes == ["1 of 1 image has fewer than 8 bits a channel: its values are spread over 0 to 255"]
        for most in (256, 1000, 65535):  # Pillow makes 8 bits of these where there are colours
            with refuses("cannot use the pixels of the file", "8 bits per channel"):
                read(netpbm(kind, most, pixels))
    with refuses("cannot use the pixels of the file", "32 bits a channel"):
        read(b"Pf\n5 4\n-1.0\n" + bytes(4 * 20))


def test_damaged_pictures_are_one_line(refuses):
    for form in ("PNG", "JPEG", "TIFF", "GIF", "BMP"):
        content = saved(Image.fromarray(COLOURS), form)
        with refuses("cannot read the image the file", "replace or remove"):
            read(content[: len(content) // 3])


def test_only_the_alpha_channel_of_images_that_have_one(refuses):
    for image in (Image.fromarray(COLOURS), Image.fromarray(GREY), Image.fromarray(COLOURS).quantize(8)):
        with refuses("the file has no alpha channel", "alpha: only", "leave alpha out"):
            read(saved(image, "PNG"), "only")
    opaque = np.concatenate([COLOURS, np.full((4, 5, 1), 255, np.uint8)], axis=-1)
    assert "opaque throughout" in read(saved(Image.fromarray(opaque), "PNG"), "only")[1][0]
