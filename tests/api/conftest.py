"""Steps of an optimizer are taken here."""

from tests.promotion import standard_promotion  # noqa: F401
