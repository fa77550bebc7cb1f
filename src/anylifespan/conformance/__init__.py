"""The cases with which ``anylifespan conform`` judges servers and drivers."""

from ._case import Case as Case
from ._case import Source as Source
from ._case import Strength as Strength
from ._case import Verdict as Verdict
from ._cases import in_order as _in_order

#: All cases, in the order of their topics. To test a driver, parametrise a test with the cases
#: whose ``for_drivers`` is true.
cases: tuple[Case, ...] = _in_order()
