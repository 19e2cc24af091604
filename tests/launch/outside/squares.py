"""A data scheme: `squares:COUNT`, so many lines about square numbers."""

from research.config.names import SCHEMES
from research.data.sources.schemes import Scheme


def documents(source, data, split):
    return (f"{n} times {n} is {n * n}, and that is a square.\n" for n in range(int(source.name)))


SCHEMES.register("squares")(Scheme("squares:COUNT", identity=lambda source: source.name, documents=documents))
