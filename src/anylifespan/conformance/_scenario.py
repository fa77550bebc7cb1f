"""What servers and drivers are put through; the cases judge what happened.

A scenario is for servers, for drivers, or for both. Many cases may share one, and it is run once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ._driver import Body
from ._server import Server


@dataclass(frozen=True)
class Scenario:
    """One of them.

    :ivar behaviour: of the application's lifespan
    :ivar early: what is done with a server that has only been started
    :ivar play: what is done with a server that answers requests; None if it need not
    :ivar body: what is done inside a driver; None if it is not for drivers
    :ivar workers: how many workers the server is to have
    :ivar cancelled_after: seconds after which whoever enters the driver is cancelled
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
