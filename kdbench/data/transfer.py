"""HTTP as `prepare` uses it: from the named host alone, never slower than a crawl.

A server can send its client elsewhere, answer one byte a second, or never end its headers. Each
ends here in an error instead of a transfer.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, Any

from kdbench.base.errors import BadInput

TIMEOUT = 30.0  # seconds without a byte, and for a whole answer's head
# a transfer that has gone on for so many seconds must have brought so many bytes in each
SLOW_SECONDS, SLOW_BYTES = 60.0, 1_000
# where GitHub sends those who ask for a file of a repository
HOSTS = frozenset(("raw.githubusercontent.com", "media.githubusercontent.com",
                   "objects.githubusercontent.com", "github.com", "codeload.github.com"))


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to the same host or one of `HOSTS`, and never from HTTPS to anything else."""

    def redirect_request(self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str,
                         headers: HTTPMessage, newurl: str) -> urllib.request.Request | None:
        """The next request; `BadInput` where it would leave the host."""
        before, after = map(urllib.parse.urlsplit, (req.full_url, newurl))
        same_host = after.netloc == before.netloc or after.hostname in HOSTS
        if not same_host or after.scheme not in ("https", before.scheme):
            raise BadInput(f"{req.full_url}: the server sends on to {after.scheme}://"
                           f"{after.hostname}, which is not followed; get the file by hand and "
                           "use --from FOLDER")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Watched(http.client.HTTPConnection):
    """Ends where the head of an answer takes longer than `TIMEOUT`, however its bytes drip."""

    def connect(self) -> None:
        super().connect()
        self.timer = threading.Timer(TIMEOUT, self.give_up)
        self.timer.daemon = True
        self.timer.start()

    def give_up(self) -> None:
        """Wake whoever reads."""
        with contextlib.suppress(OSError, AttributeError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def getresponse(self) -> HTTPResponse:
        try:
            return super().getresponse()
        finally:
            self.timer.cancel()


class _WatchedTLS(_Watched, http.client.HTTPSConnection):
    pass


class _Plain(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(_Watched, req)


class _Secure(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(_WatchedTLS, req)


def open_url(request: urllib.request.Request) -> Any:
    """The answer to a request over HTTP or HTTPS; no other scheme is spoken."""
    opener = urllib.request.OpenerDirector()
    handlers = (urllib.request.ProxyHandler, urllib.request.HTTPDefaultErrorHandler,
                urllib.request.HTTPErrorProcessor, urllib.request.UnknownHandler, Redirects,
                _Plain, _Secure)
    for handler in handlers:
        opener.add_handler(handler())
    return opener.open(request, timeout=TIMEOUT)


class Pace:
    """How fast a transfer goes, from its beginning."""

    def __init__(self, url: str):
        self.url, self.begun, self.received = url, time.monotonic(), 0

    def add(self, count: int) -> None:
        """Count bytes; `BadInput` where the transfer crawls."""
        self.received += count
        seconds = time.monotonic() - self.begun
        if seconds > SLOW_SECONDS and self.received < seconds * SLOW_BYTES:
            raise BadInput(f"{self.url}: {self.received:,} bytes in {seconds:.0f} seconds, which "
                           "would not end; call prepare again to resume, or use --from FOLDER")


# ---- the file that a transfer goes into ----------------------------------------------------------


def part_size(part: Path) -> int:
    """Bytes of what was fetched so far; `BadInput` where a link or a folder lies in its place."""
    if part.is_symlink() or (part.exists() and not part.is_file()):
        raise BadInput(f"{part}: is a link, a folder or a pipe, and is not written through; "
                       "remove it")
    return part.stat().st_size if part.exists() else 0


def open_part(part: Path, append: bool) -> IO[bytes]:
    """The file of a transfer, opened so that a link in its place is not followed."""
    flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC)
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(part, flags, 0o666), "ab" if append else "wb")
