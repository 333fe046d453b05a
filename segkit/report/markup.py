"""HTML by small functions: what is plain text is escaped, whatever it says; what is `Markup` is not."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from typing import Any

from numpy.typing import NDArray
from PIL import Image as Pillow

JPEG_QUALITY = 82

EMPTY_ELEMENTS = {"meta", "img", "line", "rect", "circle", "path", "polyline"}
"""Closed at once: nothing stands in them."""


class Markup(str):
    """Text that is HTML already."""


def tag(element: str, *content: object, **attributes: object) -> Markup:
    """An element. Attributes: ``class_`` is class, ``stroke_width`` is stroke-width; one that is None is left out.

    >>> tag("p", "a < b", tag("b", "!"), class_="note")
    '<p class="note">a &lt; b<b>!</b></p>'
    """
    given = ((name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items() if value is not None)
    opened = " ".join([element, *(f'{name}="{html.escape(_short(value), quote=True)}"' for name, value in given)])
    return Markup(f"<{opened}>" if element in ("meta", "img") else f"<{opened}/>" if element in EMPTY_ELEMENTS else f"<{opened}>{join(content)}</{element}>")


def join(parts: Iterable[object], between: str = "") -> Markup:
    """One after the other; plain text is escaped, None is left out."""
    return Markup(between.join(part if isinstance(part, Markup) else html.escape(str(part), quote=False) for part in parts if part is not None))


def _short(value: object) -> str:
    """Coordinates need no more than a hundredth of a pixel."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def note(*content: object) -> Markup:
    """A plain line about what is not there, or how something is to be read."""
    return tag("p", *content, class_="note")


def section(name: str, title: str, *content: object) -> Markup:
    return tag("section", tag("h2", title), *content, id=name)


def table(caption: str, header: Sequence[object], rows: Iterable[Sequence[object]], *, numbers: Iterable[int] = ()) -> Markup:
    """A table that scrolls in a box of its own where the screen is narrow; columns in `numbers` are flush right."""
    right = set(numbers)

    def cells(kind: str, row: Sequence[object], **attributes: object) -> Markup:
        return tag("tr", *(tag(kind, cell, class_="number" if place in right else None, **attributes) for place, cell in enumerate(row)))

    head, body = tag("thead", cells("th", header, scope="col")), tag("tbody", *(cells("td", row) for row in rows))
    return tag("div", tag("table", tag("caption", caption), head, body), class_="scroll", role="region", aria_label=caption, tabindex=0)


def folded(title: str, *content: object, is_open: bool = False) -> Markup:
    return tag("details", tag("summary", title), *content, open="" if is_open else None)


def figure(content: object, *caption: object, class_: str | None = None) -> Markup:
    return tag("figure", content, tag("figcaption", *caption) if caption else None, class_=class_)


def picture(pixels: NDArray[Any], alt: str) -> Markup:
    """(H, W, 3) uint8 within the page itself."""
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    source = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    return tag("img", src=source, alt=alt, width=pixels.shape[1], height=pixels.shape[0])
