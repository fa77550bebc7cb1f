"""The cases that servers and drivers are judged by, as ``anylifespan conform`` does."""

from ._case import Case as Case
from ._case import Source as Source
from ._case import Strength as Strength
from ._case import Verdict as Verdict
from ._cases import in_order as _in_order

#: All cases, by topic. The tests of a driver are parametrised by those with ``for_drivers``.
cases: tuple[Case, ...] = _in_order()
