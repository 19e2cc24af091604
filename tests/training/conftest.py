"""Steps of an optimizer are taken here; commands on a run are refused."""

from tests.promotion import standard_promotion  # noqa: F401
from tests.training.refusals import finished, made  # noqa: F401
