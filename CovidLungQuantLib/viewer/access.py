"""Who may see the page: a browser on this computer that was given the token."""

from __future__ import annotations

import hmac
import secrets
import socket
from typing import Any
from urllib.parse import urlencode

from CovidLungQuantLib.errors import BadInputError

HOST = "127.0.0.1"
TOKEN_PARAMETER = "token"
COOKIE = "covidlungquant-viewer"
# Nothing may be loaded from elsewhere. Vue makes functions of the page's templates.
CONTENT_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' {websocket}; "
    "base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)


def new_token() -> str:
    """Return a token that nobody can guess."""
    return secrets.token_urlsafe(24)


def check_port(port: int) -> None:
    """Refuse a port that cannot be listened on; 0 is any that is free.

    Raises:
        BadInputError: it is taken, or needs rights that this user has not.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise BadInputError(
                f"Port {port} cannot be listened on ({error.strerror}); choose another with --port,"
                " or leave it out."
            ) from error


def page_address(port: int, token: str) -> str:
    """Return what to open in a browser."""
    return f"http://{HOST}:{port}/?{urlencode({TOKEN_PARAMETER: token})}"


def is_token(token: str, given: str | None) -> bool:
    """Whether what a browser gives is the token."""
    return given is not None and hmac.compare_digest(token.encode(), given.encode())


def is_own_page(host: str | None, origin: str | None, port: int) -> bool:
    """Whether a request is for this address, and comes from its own page.

    Args:
        host: what the request says of where it goes.
        origin: what it says of the page it comes from; None where it says nothing.
        port: where the viewer listens.
    """
    own = (f"{HOST}:{port}", f"localhost:{port}")
    return host in own and origin in (None, *(f"http://{name}" for name in own))


def guard(token: str) -> Any:
    """Return aiohttp middleware that lets nobody in without the token.

    The address with the token sets a cookie and leads on to the page without it, so that it stands
    in no history; after that the cookie is asked for, also for the web socket.
    """
    from aiohttp import web

    @web.middleware
    async def check(request: Any, handler: Any) -> Any:
        port = request.transport.get_extra_info("sockname")[1]
        if not is_own_page(request.headers.get("Host"), request.headers.get("Origin"), port):
            raise web.HTTPForbidden(text="This page is to be opened at its own address.")
        if is_token(token, request.query.get(TOKEN_PARAMETER)):
            response = web.HTTPFound("/index.html")
            response.set_cookie(COOKIE, token, httponly=True, samesite="Strict", path="/")
            return response
        if not is_token(token, request.cookies.get(COOKIE)):
            raise web.HTTPForbidden(
                text="Open the address that covidlungquant view has printed; it holds a token."
            )
        response = await handler(request)
        if not response.prepared:
            websocket = f"ws://{request.headers['Host']}"
            response.headers["Content-Security-Policy"] = CONTENT_POLICY.format(websocket=websocket)
            response.headers["Referrer-Policy"] = "no-referrer"
        return response

    return check
