"""The command `explore`."""

import sys
import webbrowser
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

import typer

from theodolite import plugins
from theodolite.cli import output
from theodolite.cli.opening import open_served
from theodolite.cli.options import Collection, EmbedderName, Json, OnDrift, TrustIndex
from theodolite.cli.serve import listening

if TYPE_CHECKING:  # starlette is imported when the command runs
    from theodolite.serving.collections import Served

_HOST = "127.0.0.1"


def explore(
    location: Collection,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address, and leave the browser alone.")
    ] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port. Default: a free one.")] = 0,
    embedder: EmbedderName = None,
    on_drift: OnDrift = "refuse",
    rerank: Annotated[
        str | None, typer.Option("--rerank", metavar="NAME", help="A reranker that searches may ask for.")
    ] = None,
    trust_index: TrustIndex = False,
    json_: Json = False,
) -> None:
    """Search in the browser, and see why a document is found or not.

    The page is served to this machine only, by this command, until Ctrl-C stops it. Nothing is written. The address
    ends with a token, without which nobody else on this machine can read the collection.

    \b
    Examples:
      theodolite explore kb
      theodolite explore kb --no-browser --port 9000
    """
    with plugins.optional("serve"):
        from theodolite.serving.access import Access, Grant, new_token
        from theodolite.serving.app import make_app
        from theodolite.serving.collections import Collections, closing_on_error
        from theodolite.serving.explorer.pages import PREFIX
        from theodolite.serving.explorer.routes import explorer
        from theodolite.serving.limits import Limits
        from theodolite.serving.server import make_server, without_warnings_of_requests
    with ExitStack() as stack:
        listener = stack.enter_context(listening(_HOST, port))
        opened: list[Served] = []
        with closing_on_error(opened):
            opened.append(open_served(location, embedder, on_drift, rerank, write=False, trust_index=trust_index))
            collections = Collections(opened)
        stack.callback(collections.close)
        token, limits = new_token(), Limits()
        app = make_app(
            collections,
            Access({token: Grant()}),
            hosts=[_HOST, "localhost"],
            limits=limits,
            extensions=[explorer(collections, limits)],
        )
        fragment = urlencode({"token": token, "collection": opened[0].name})
        url = f"http://{_HOST}:{listener.getsockname()[1]}{PREFIX}#{fragment}"
        if json_:
            output.say_json({"url": url})
        else:
            output.say(url)
            output.note("Ctrl-C stops the server.")
        sys.stdout.flush()
        if not no_browser:
            webbrowser.open(url)  # the socket listens already, so the page waits for the server
        stack.enter_context(without_warnings_of_requests())
        make_server(app, limits).run(sockets=[listener])
