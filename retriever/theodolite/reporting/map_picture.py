"""The map as SVG: one path for each color, so that 100,000 documents take about 700 kB and no script.

A point is a line of no length with round ends. Coordinates are whole numbers, each relative to the one before.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from theodolite.display import Markup, shortened
from theodolite.overview.groups import Group
from theodolite.overview.map import SIDE, Map
from theodolite.reporting.html import escaped
from theodolite.types import Document

GRID = 4095
"""The largest coordinate in the picture."""

_MARGIN = 90
_MIN_HEIGHT = 0.45  # of the width
_LABEL, _TIP = 24, 110  # columns of an id and of a text in a tooltip
_SIZES = ((500, 44), (5000, 26), (30_000, 14))  # diameters of points by the number of documents
_SMALLEST = 9


def draw_map(
    found: Map, groups: Sequence[Group], documents: Sequence[Document], tips: Sequence[int], alt: str
) -> Markup:
    """Return the picture.

    Args:
        tips: the rows of documents that show their text when the pointer is on them.
        alt: the text alternative.
    """
    x = np.rint(found.x.astype(np.float64) * GRID / SIDE).astype(np.int64)
    y = GRID - np.rint(found.y.astype(np.float64) * GRID / SIDE).astype(np.int64)
    top, bottom = (int(y.min()), int(y.max())) if len(y) else (0, 0)
    height = max(bottom - top, int(_MIN_HEIGHT * GRID))
    first = (top + bottom) // 2 - height // 2
    size = next((size for most, size in _SIZES if len(x) <= most), _SMALLEST)
    box = f"{-_MARGIN} {first - _MARGIN} {GRID + 2 * _MARGIN} {height + 2 * _MARGIN}"
    parts = [
        f'<svg class="map" role="img" aria-label="{escaped(alt)}" viewBox="{box}" xmlns="http://www.w3.org/2000/svg">'
        f'<g fill="none" stroke-linecap="round" stroke-width="{size}" '
        f'stroke-opacity="{0.85 if len(x) <= _SIZES[1][0] else 0.55}">'
    ]
    parts += [f'<path class="c{group.color}" d="{_dots(x[group.rows], y[group.rows])}"/>' for group in reversed(groups)]
    parts.append("</g>")
    for group in groups:
        if group.color:
            at = int(np.median(x[group.rows])), int(np.median(y[group.rows]))
            parts.append(f'<text x="{at[0]}" y="{at[1]}">{group.color}</text>')
    parts.append('<g fill="transparent">')
    for row in tips:
        document = documents[row]
        said = escaped(f"{shortened(document.id, _LABEL)}: {shortened(document.text, _TIP)}")
        parts.append(f'<circle cx="{x[row]}" cy="{y[row]}" r="{max(size, 22) // 2}"><title>{said}</title></circle>')
    return Markup("".join([*parts, "</g></svg>"]))


def _dots(x: NDArray[np.int64], y: NDArray[np.int64]) -> str:
    order = np.lexsort((x, y))
    moves = np.diff(np.stack([x[order], y[order]], axis=1), axis=0, prepend=0)
    return "".join(f"m{right} {down}h0" for right, down in moves.tolist())
