"""Whether there is a network, asked before libraries that would retry for long."""

import socket
import urllib.parse
import urllib.request
from collections.abc import Iterable


def resolve(urls: Iterable[str]) -> None:
    """Raises OSError for a URL whose host has no address here. Behind a proxy, that one resolves."""
    if urllib.request.getproxies():
        return
    for host in {urllib.parse.urlsplit(url).hostname for url in urls}:
        try:
            socket.getaddrinfo(host, None)
        except OSError as fault:
            raise OSError(f"{host} is out of reach") from fault
