"""The reader for mail (`.eml`), as the standard library parses it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from email import message_from_bytes, policy
from email.message import EmailMessage, MIMEPart
from typing import Any

from theodolite.errors import DocumentError
from theodolite.files.readers.markup import html_units
from theodolite.files.readers.options import Options
from theodolite.files.readers.results import File, Note, Unit

_HEADERS = ("from", "to", "cc")


def read_mail(file: File, options: Options) -> Iterator[Unit | Note]:
    """Yield the body of a message, with its subject as `title`. Attachments are not read."""
    message = message_from_bytes(file.path.read_bytes(), policy=policy.default)
    assert isinstance(message, EmailMessage)  # noqa: S101  # what the default policy makes; the stub does not say so
    if not message.keys():
        raise DocumentError("not a message: it has no headers")
    try:
        metadata = _metadata(message)
        body = message.get_body(("plain", "html"))
        text = "" if body is None else _content(body)
        attached = [part.get_filename("without a name") for part in message.iter_attachments()]
    except (LookupError, ValueError, AttributeError, TypeError) as error:  # the parser reads headers when asked
        raise DocumentError(f"damaged: {type(error).__name__}: {error}") from error
    if body is not None and text.strip():
        if body.get_content_subtype() == "html":
            for unit in html_units(text):
                yield replace(unit, metadata={**unit.metadata, **metadata})
        else:
            yield Unit(text, metadata=metadata)
    if attached:
        names = ", ".join(attached[:5]) + (" and more" if len(attached) > 5 else "")
        yield Note(file.source, f"{len(attached)} attachments are not read: {names}")


def _content(body: MIMEPart) -> str:
    try:
        return str(body.get_content())
    except LookupError:  # an unknown encoding
        data = body.get_payload(decode=True)
        return data.decode(errors="replace") if isinstance(data, bytes) else ""


def _metadata(message: EmailMessage) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if subject := " ".join(str(message["subject"] or "").split()):
        found["title"] = subject
    for name in _HEADERS:
        if value := " ".join(str(message[name] or "").split()):
            found[name] = value
    moment = getattr(message["date"], "datetime", None)
    if isinstance(moment, datetime):
        found["date"] = moment
    return found
