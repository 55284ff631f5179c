"""What a file consists of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Unit:
    """Text that is cut up by itself: a section, a page, a record.

    Attributes:
        text: of which passages are made.
        markdown: whether its marks count where it is cut.
        metadata: what is known of it.
        line: of a record, from 1; None for a text.
        id: of a record that has one.
    """

    text: str
    markdown: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    line: int | None = None
    id: str | None = None
