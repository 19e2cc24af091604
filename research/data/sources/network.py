"""A quick check for a network, before libraries that retry for minutes."""

import socket
import urllib.parse
import urllib.request
from collections.abc import Iterable


def resolve(urls: Iterable[str]) -> None:
    """Raises OSError for a URL whose host has no address. Behind a proxy, the proxy asks for it."""
    if urllib.request.getproxies():
        return
    for host in {urllib.parse.urlsplit(url).hostname for url in urls}:
        try:
            socket.getaddrinfo(host, None)
        except OSError as fault:
            raise OSError(f"{host} is out of reach") from fault
