"""The scenarios that servers and drivers are put through, before cases judge the results.

A scenario is for servers, for drivers, or for both. Several cases can share a scenario, which is
then run only once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ._driver import Body
from ._server import Server


@dataclass(frozen=True)
class Scenario:
    """The application's behaviour, and the steps to take with a server or inside a driver's block.

    :ivar behaviour: the name of the lifespan's behaviour
    :ivar early: called with a server that has just been started
    :ivar play: called with a server that answers requests; None if the server need not answer
        requests
    :ivar body: called inside the driver's block; None if the scenario is not for drivers
    :ivar workers: how many workers the server should have
    :ivar cancelled_after: seconds after which the code that enters the driver is cancelled
    """

    behaviour: str
    early: Callable[[Server], None] | None = None
    play: Callable[[Server], None] | None = None
    body: Body | None = None
    workers: int = 1
    cancelled_after: float = math.inf

    @property
    def for_servers(self) -> bool:
        return self.early is not None or self.play is not None

    @property
    def for_drivers(self) -> bool:
        return self.body is not None
