"""Opens a URL within a time, whatever the server does: one that sends a byte now and then is cut
off.

In: a request for an http or https URL. Out: the server's answer, its head read.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import urllib.request
from threading import Timer
from typing import Any, cast


class _Watched(http.client.HTTPConnection):
    """A connection that is shut down if the head of the answer is not there in time."""

    def getresponse(self) -> http.client.HTTPResponse:
        seconds = self.timeout
        watch = Timer(float(seconds) if seconds is not None else 30.0, self._shut)
        watch.daemon = True
        watch.start()
        try:
            answer = super().getresponse()
        finally:
            watch.cancel()
        if self._is_late:
            raise TimeoutError(f"no answer within {seconds} s")
        return answer

    _is_late = False

    def _shut(self) -> None:
        self._is_late = True
        with contextlib.suppress(OSError):
            if self.sock is not None:
                self.sock.shutdown(socket.SHUT_RDWR)


class _WatchedTls(_Watched, http.client.HTTPSConnection):
    """The same over TLS."""


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_Watched, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_WatchedTls, req)


def open_url(request: urllib.request.Request, timeout_s: float) -> http.client.HTTPResponse:
    """Return the answer; `timeout_s` bounds each wait, and the head as a whole.

    Raises:
        OSError, http.client.HTTPException: as `urllib.request.urlopen`.
    """
    opener = urllib.request.build_opener(_Http, _Https)
    return cast(http.client.HTTPResponse, opener.open(request, timeout=timeout_s))
