"""One picture at a time: its 8-bit pixels, and a count of what had to be done to get them."""

import io
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from infoplane.data.files import check_regular
from infoplane.errors import UsageError, agreed, plural, unknown

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".pbm", ".pgm", ".ppm", ".pnm")
ENDINGS = ", ".join(suffix[1:] for suffix in SUFFIXES)
_INTACT = f"an intact {' or '.join(ENDINGS.rsplit(', ', 1))} file"

#: What to do with pixels that can be seen through: lay the image on a ground, drop the alpha channel, or read nothing
#: but it.
Alpha = Literal["white", "black", "drop", "only"]

# All that Pillow is let try, whatever a file is called: for some formats (EPS) it starts other programs.
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF", "PPM")

# Pillow's modes of 8 bits a channel or fewer. Others (I, I;16, F) hold more than 256 levels, and converting them would
# clip without a word.
_GREY = ("1", "L", "LA")
_COLOUR = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")

#: EXIF orientations other than upright, and those that exchange width and height
_ORIENTATIONS = range(2, 9)
_TURNED = (5, 6, 7, 8)
_ORIENTATION = 0x0112
_BITS_PER_SAMPLE, _SAMPLES_PER_PIXEL, _SAMPLE_FORMAT = 258, 277, 339
_UNSIGNED = 1

#: how files begin that are called like pictures and are something else, at the byte where it stands
_OTHERS = (
    (0, b"%!PS", "PostScript (EPS)"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript (EPS)"),
    (0, b"%PDF", "a PDF"),
    (0, b"8BPS", "a Photoshop file (PSD)"),
    (0, b"\0\0\1\0", "an icon (ICO)"),
    (0, b"\0\0\2\0", "a cursor (CUR)"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xffO\xffQ", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL ", "JPEG XL"),
    (4, b"ftyp", "HEIC, AVIF or a film"),
    (0, b"DDS ", "a texture (DDS)"),
    (0, b"v/1\1", "OpenEXR"),
    (0, b"SIMPLE", "FITS"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (128, b"DICM", "DICOM"),
    (0, b"\x89HDF", "HDF5"),
    (0, b"\x93NUMPY", "a numpy array"),
    (0, b"PK\3\4", "a zip archive"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"version https://git-lfs", "a pointer of Git LFS in the place of the file (git lfs pull)"),
)

_PNG = b"\x89PNG\r\n\x1a\n"
_HEAD = 256


def check_alpha(alpha: str | None) -> None:
    """Raises `UsageError` for a treatment of transparent pixels that there is not."""
    if alpha is not None and alpha not in get_args(Alpha):
        raise unknown("way to read transparent pixels", str(alpha), get_args(Alpha))


def look(source: Path | bytes, name: object, alpha: str | None = None) -> tuple[tuple[int, int], bool]:
    """Returns (width, height) of a picture as it is looked at, and whether it is grey, without decoding it.

    Args:
        source: The file, or its content.
        name: What error messages call it.
        alpha: As `decode` has it.

    Raises:
        UsageError: It is no picture of a known format, or has more than 8 bits a channel.
    """
    with _opened(source, name) as (image, _):
        width, height = image.size
        # Of a TIFF Pillow exchanges the sides itself.
        if _orientation(image) in _TURNED and image.format != "TIFF":
            width, height = height, width
        return (width, height), _is_grey(image) or (alpha == "only" and _has_alpha(image))


def decode(source: Path | bytes, name: object, done: Counter[str], alpha: str | None = None) -> np.ndarray:
    """Returns the pixels of a picture's first frame, uint8 `(H, W, 1)` if it is grey, else RGB `(H, W, 3)`.

    Args:
        source: The file, or its content.
        name: What error messages call it.
        done: What was done to a picture, in words -> number of pictures; counted on here.
        alpha: What to do with pixels that can be seen through; None refuses them.

    Raises:
        UsageError: It is damaged, no picture of a known format, has more than 8 bits a channel, or can be seen through.
    """
    from PIL import Image, ImageOps

    with _opened(source, name) as (image, bits):
        steps = list(_conversions(image, bits))
        if getattr(image, "n_frames", 1) > 1:
            steps.append(f"have several frames, of which the first of {image.n_frames} was read")
        orientation = _orientation(image)  # of a TIFF it is gone once it is loaded, of a PNG it may come last
        cover = _unread_alpha(image)
        image.load()
        if (orientation or _orientation(image)) in _ORIENTATIONS:
            steps.append("were turned as their EXIF orientation says")
            image = ImageOps.exif_transpose(image)
        if image.format == "BMP" and image.mode == "RGBA":
            cover = np.asarray(image)[..., 3]
        if cover is not None:
            image = image.convert("RGB")
            if alpha == "only" or cover.min() < cover.max() or cover.min() not in (0, 255):
                image.putalpha(Image.fromarray(cover))
        found = _pixels(image, name, steps, alpha)
    done.update(steps)
    return found if found.ndim == 3 else found[..., None]


def notes_of(done: Counter[str], total: int) -> list[str]:
    """Returns what was done to pictures as sentences with their counts."""
    return [f"{count:,} of {plural(total, 'image')} {agreed(count, what)}" for what, count in sorted(done.items())]


@contextmanager
def _opened(source: Path | bytes, name: object) -> Iterator[tuple[Any, int]]:
    """A context: the picture of a file or content with its bits a channel, anything that goes wrong as one line."""
    from PIL import Image

    head: bytes | None = None
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # Pillow only warns of what is too large
        try:
            if isinstance(source, Path):
                check_regular(source)
            stream = stack.enter_context(source.open("rb") if isinstance(source, Path) else io.BytesIO(source))
            head = stream.read(_HEAD)
            stream.seek(0)
            image = Image.open(stream, formats=_FORMATS)
            bits = _bits(image, head)
            _check_depth(name, image, bits)
            head = None  # it is a picture: what goes wrong from now on is no question of how it begins
            yield image, bits
        except UsageError:
            raise
        except Exception as error:
            raise _refused(name, error, head) from error


def _kind(head: bytes) -> str:
    """Returns what a file that is no picture of these formats holds, as far as its beginning tells."""
    if not head:
        return "an empty file"
    if not any(head):
        return "zeros alone"
    text = head.lstrip(b"\xef\xbb\xbf").lstrip().lower()
    if b"<svg" in text or text.startswith(b"<?xml"):
        return "XML or a drawing (SVG)"
    if text.startswith((b"<!doctype", b"<html")):
        return "a web page"
    for at, start, kind in _OTHERS:
        if head[at:].startswith(start):
            return kind
    if head.isascii() and head.decode("ascii").replace("\n", "").replace("\r", "").replace("\t", "").isprintable():
        return "a text"
    return "no known picture, or one that is damaged at its beginning"


def _bits(image: Any, head: bytes) -> int:
    """Returns the bits a channel that the file has, whatever mode Pillow reads it in."""
    if head[:8] == _PNG:
        return head[24]
    if image.format == "TIFF":
        return max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,)))
    rawmode, *rest = _raw(image)
    if image.format == "BMP" and rawmode in ("BGR;15", "BGR;16"):
        return 5
    if image.format == "PPM" and len(rest) == 1:  # of one whose greatest value is another than 255
        return 7 if rest[0] < 255 else 8 if rest[0] == 255 else rest[0].bit_length()
    # Those of other modes have more: Pillow's I is of 16 bits or 32, its F of 32.
    return {"1": 1, "I": 16, "F": 32}.get(image.mode, 8)


def _raw(image: Any) -> tuple[Any, ...]:
    """Returns how a picture's decoder is told that the pixels lie in the file: in what order, and more."""
    args = image.tile[0][3] if image.tile else ()
    return args if isinstance(args, tuple) and args else (args,)


def _unread_alpha(image: Any) -> np.ndarray | None:
    """Returns what a .bmp of 32 bits holds beside its colours, uint8 (H, W), where Pillow skips it; else None.

    The header of most of them has no way to say that there is an alpha channel: programs write it none the less.
    """
    order, *rest = _raw(image)
    if (
        image.format != "BMP"
        or image.mode != "RGB"
        or not (isinstance(order, str) and len(order) == 4 and "X" in order)
    ):
        return None
    (width, height), (stride, direction) = image.size, rest
    image.fp.seek(image.tile[0][2])
    content = image.fp.read(stride * height)
    if len(content) < stride * height:
        return None  # it is cut short, as its decoder will find
    rows = np.frombuffer(content, np.uint8).reshape(height, stride)[::direction, : 4 * width]
    return np.ascontiguousarray(rows.reshape(height, width, 4)[..., order.index("X")])


def _check_depth(name: object, image: Any, bits: int) -> None:
    """Raises `UsageError` for a picture whose values are not 8 bits a channel, or not whole and positive."""
    signed = image.format == "TIFF" and set(image.tag_v2.get(_SAMPLE_FORMAT, (_UNSIGNED,))) != {_UNSIGNED}
    if bits > 8 or signed or image.mode not in _GREY + _COLOUR:
        of = f"{bits} bits a channel{', with a sign or a point' if signed else ''}, Pillow mode {image.mode!r}"
        raise UsageError(
            f"cannot use the pixels of {name}",
            received=of,
            legal="8 bits per channel",
            mend="choose yourself what becomes of the finer levels: divide by 2^(bits used − 8), write 8-bit greyscale "
            "or RGB, or an .npz of uint8 images with their number of levels",
        )


def _conversions(image: Any, bits: int) -> list[str]:
    """Returns what will be done to a picture because of how its colours are kept."""
    found = []
    if image.mode in ("P", "PA"):
        found.append(
            f"have a palette of {'greys: they became grey' if _is_grey(image) else 'colours: they became RGB'}"
        )
    elif bits < 8:
        found.append("have fewer than 8 bits a channel: their values are spread over 0 to 255")
    if image.mode in ("CMYK", "YCbCr"):
        found.append(f"are {image.mode}: they became RGB")
    extra = image.tag_v2.get(_SAMPLES_PER_PIXEL, 1) - len(image.getbands()) if image.format == "TIFF" else 0
    if image.mode == "RGBX" or extra > 0:
        found.append("have channels beside their colours, which were dropped")
    return found


def _is_grey(image: Any) -> bool:
    """Whether a picture has greys only; those of a palette, as grey .gif files have it, count."""
    if image.mode != "P":
        return image.mode in _GREY
    colours = np.reshape(image.getpalette("RGB"), (-1, 3))
    return bool((colours == colours[:, :1]).all())


def _has_alpha(image: Any) -> bool:
    if image.format == "BMP" and "X" in str(_raw(image)[0]):
        return True  # or what may be one
    return "A" in image.getbands() or "transparency" in image.info


def _orientation(image: Any) -> int | None:
    """Returns a picture's EXIF orientation, None where it has none that can be read."""
    # Pillow would decode the picture to look for it, and what is damaged would go by unseen.
    if image.format == "PNG" and not any(key in image.info for key in ("exif", "Raw profile type exif")):
        return None
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:  # what is damaged there says nothing of the pixels
        return None


def _pixels(image: Any, name: object, steps: list[str], alpha: str | None) -> np.ndarray:
    """Returns the pixels, (H, W) of a grey picture, else (H, W, 3), and adds what was done about its alpha channel."""
    from PIL import Image

    grey, transparent = _is_grey(image), _has_alpha(image)
    # From a palette in two steps: Pillow warns about doing it in one.
    rgba = image.convert("RGBA") if transparent or image.mode in ("P", "PA") else None
    if alpha == "only" and not transparent:
        # Its colours among other images' alpha channels would be neither.
        raise UsageError(
            f"{name} has no alpha channel",
            received=f"alpha: only, and an image of Pillow's mode {image.mode!r}",
            legal="alpha: only, of images that all have an alpha channel",
            mend="leave alpha out to read colours, or remove the images without an alpha channel",
        )
    if transparent and rgba is not None:
        cover = np.asarray(rgba)[..., 3]
        if alpha == "only":
            blank = " (opaque throughout, so these are blank)" if cover.min() == 255 else ""
            steps.append(f"have an alpha channel, which is all that was read of them{blank}")
            return cover.copy()
        if cover.min() == 255:
            steps.append("have an alpha channel that is opaque throughout: it was dropped")
        elif alpha is None:
            share = float((cover < 255).mean())
            raise UsageError(
                f"{name} has pixels that can be seen through",
                received=f"an alpha channel from {cover.min()} to {cover.max()}, {share:.0%} of it below 255",
                legal=f"alpha: {', '.join(get_args(Alpha))}",
                mend="white and black lay images on that ground, drop takes the colours as stored, only reads nothing "
                "but the alpha channel: load(…, alpha='white'), in a study data.options: {alpha: white}, or --options "
                "alpha=white",
            )
        elif alpha == "drop":
            steps.append("can be seen through: their alpha channel was dropped")
        else:
            steps.append(f"can be seen through: they were laid on {alpha}")
            rgba = Image.alpha_composite(Image.new("RGBA", rgba.size, alpha), rgba)
    return np.asarray((image if rgba is None else rgba).convert("L" if grey else "RGB"))


def _refused(name: object, error: Exception, head: bytes | None = None) -> UsageError:
    """Returns the error for a file that Pillow refuses; its decoders raise almost anything on corrupt input.

    Args:
        head: How the file begins, where Pillow may not have known what it is.
    """
    from PIL import UnidentifiedImageError

    if isinstance(error, UsageError):
        return error
    if isinstance(error, UnidentifiedImageError) and head is not None:
        mend = "replace or remove it; pictures of other kinds can be converted to PNG"
        return UsageError(f"cannot read the image {name}", received=_kind(head), legal=_INTACT, mend=mend)
    return UsageError(
        f"cannot read the image {name}",
        received=f"{type(error).__name__}: {error}",
        legal=_INTACT,
        mend="replace or remove it",
    )
