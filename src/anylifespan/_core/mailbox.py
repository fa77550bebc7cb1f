"""Send items from one task to another, with a memory object stream if the receiver has to wait."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from anyio import ClosedResourceError, EndOfStream, create_memory_object_stream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from .hosting import Checkpoint

T = TypeVar("T")

_stream = create_memory_object_stream[Any]  # to say of what, each time, takes its time too


class Mailbox(Generic[T]):
    """Both ends of a memory object stream with room for three items, so no sender ever waits.

    The stream is created only when a receiver has to wait. Creating a stream takes as long as
    starting a task, and often the item has been sent before the receiver waits for it.
    """

    __slots__ = ("_checkpoint", "_ended", "_items", "_receiver", "_sender")

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._items: tuple[T, ...] = ()
        self._ended = False
        self._sender: MemoryObjectSendStream[T] | None = None
        self._receiver: MemoryObjectReceiveStream[T] | None = None

    def send(self, item: T) -> None:
        if self._sender is None:
            self._items += (item,)
        else:
            self._sender.send_nowait(item)

    def end(self) -> None:
        """Close the sending end. Items that have already been sent can still be received."""
        self._ended = True
        if self._sender is not None:
            self._sender.close()

    def close(self) -> None:
        """Close both ends."""
        self.end()
        self._items = ()
        if self._receiver is not None:
            self._receiver.close()

    def receive_nowait(self) -> T:
        """Return the next item, which must have been sent already."""
        first, *rest = self._items
        self._items = tuple(rest)
        return first

    async def receive(self) -> T:
        """Wait for the next item.

        :raises EndOfStream: if there are no more items
        """
        if self._receiver is None:
            await self._checkpoint()
            if self._items:
                return self.receive_nowait()
            if self._ended:
                raise EndOfStream
        if self._receiver is None:  # another receiver may have come first
            self._sender, self._receiver = _stream(3)
        try:
            return await self._receiver.receive()
        except ClosedResourceError:
            raise EndOfStream from None
