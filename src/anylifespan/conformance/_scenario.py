"""The scenarios that servers and drivers are put through, before cases judge what happened.

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
    """How the application behaves, and what is done with a server or inside a driver's block.

    :ivar behaviour: the name of the behaviour of the application's lifespan
    :ivar early: what is done with a server that has just been started
    :ivar play: what is done with a server that answers requests; None if the server need not
        answer requests
    :ivar body: what is done inside the driver's block; None if the scenario is not for drivers
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
