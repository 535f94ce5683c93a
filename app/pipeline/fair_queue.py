"""Texts that wait for the model, in an order that is fair to users and to their operations."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from uuid import UUID

from app.domain.errors import DomainError
from app.domain.points import Vectors


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Customer:
    """Whose texts they are: one operation of a user.

    Attributes:
        go_on: called after each pause; it raises if there is no sense in waiting any longer.
        on_wait: told why it waits, and None once answers come again.
        busy: the context in which so many of its texts are with the model.
    """

    user: UUID
    operation: UUID
    go_on: Callable[[], None]
    on_wait: Callable[[str | None], Awaitable[None]]
    busy: Callable[[int], AbstractContextManager[None]]


@dataclass(slots=True, kw_only=True, eq=False)
class Ticket:
    """The texts of one call, which is answered when all of them are settled.

    Attributes:
        vectors: float32 of shape ``(n, dimension)``; the row of a text that is not settled, or refused, is zero.
        refused: errors of the texts that the model refuses, by index.
        taken: how many texts have left the queue.
        left: how many are not settled.
        on_answer: called for each text that is.
    """

    customer: Customer
    texts: Sequence[str]
    tokens: Sequence[int]
    vectors: Vectors
    answer: "asyncio.Future[None]"
    refused: dict[int, DomainError] = field(default_factory=dict)
    taken: int = 0
    left: int = 0
    on_answer: Callable[[], None] | None = None

    def settle(self) -> None:
        """One more text is done with."""
        self.left -= 1
        if self.on_answer is not None:
            self.on_answer()
        if self.left == 0 and not self.answer.done():
            self.answer.set_result(None)

    def fail(self, error: BaseException) -> None:
        """The call raises; what is left of its texts is nobody's any more."""
        if not self.answer.done():
            self.answer.set_exception(error)


@dataclass(slots=True, eq=False)
class Text:
    """One text of a ticket. ``waited`` says that it could have gone with an earlier window."""

    ticket: Ticket
    index: int
    tokens: int
    waited: bool = False


class Turns:
    """Who is next: of those who wait, the one that was served the fewest tokens.

    Who comes anew starts level with the one that is next, so that nobody saves up a claim by not asking, and a debt is
    remembered as long as anybody waits.
    """

    def __init__(self) -> None:
        self._waiting: dict[UUID, None] = {}
        self._served: dict[UUID, int] = {}
        self._floor = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def join(self, key: UUID) -> None:
        """Somebody waits, perhaps already."""
        self._served = {
            other: served for other, served in self._served.items() if other in self._waiting or served > self._floor
        }
        self._served[key] = max(self._served.get(key, 0), self._floor)
        self._waiting[key] = None

    def leave(self, key: UUID) -> None:
        """Somebody waits no longer."""
        self._waiting.pop(key, None)
        if not self._waiting:
            self._served.clear()
            self._floor = 0

    def find_next(self) -> UUID:
        """Who is next; there must be somebody."""
        return min(self._waiting, key=self._served.__getitem__)

    def charge(self, key: UUID, tokens: int) -> None:
        """The one that was next is served."""
        self._floor = self._served[key]
        self._served[key] += tokens


class FairQueue:
    """Tickets that wait, and the order in which their texts go: by user, then by operation, then as they came."""

    def __init__(self) -> None:
        self._users = Turns()
        self._operations: dict[UUID, Turns] = {}
        self._tickets: dict[UUID, deque[Ticket]] = {}

    def __bool__(self) -> bool:
        return bool(self._users)

    def add(self, ticket: Ticket) -> None:
        """Put a ticket at the end of its operation's."""
        user, operation = ticket.customer.user, ticket.customer.operation
        self._users.join(user)
        self._operations.setdefault(user, Turns()).join(operation)
        self._tickets.setdefault(operation, deque()).append(ticket)

    def discard(self, ticket: Ticket) -> None:
        """Take out what still waits of a ticket."""
        waiting = self._tickets.get(ticket.customer.operation)
        if waiting and ticket in waiting:
            waiting.remove(ticket)
            self._forget(ticket.customer)

    def take(self, *, max_texts: int, max_tokens: int) -> list[Text]:
        """The next texts, until one of the two is reached."""
        texts: list[Text] = []
        tokens = 0
        while self._users and len(texts) < max_texts and tokens < max_tokens:
            user = self._users.find_next()
            operations = self._operations[user]
            operation = operations.find_next()
            ticket = self._tickets[operation][0]
            text = Text(ticket, ticket.taken, max(1, ticket.tokens[ticket.taken]))
            texts.append(text)
            tokens += text.tokens
            ticket.taken += 1
            self._users.charge(user, text.tokens)
            operations.charge(operation, text.tokens)
            if ticket.taken == len(ticket.texts):
                self._tickets[operation].popleft()
                self._forget(ticket.customer)
        return texts

    def _forget(self, customer: Customer) -> None:
        if self._tickets[customer.operation]:
            return
        del self._tickets[customer.operation]
        operations = self._operations[customer.user]
        operations.leave(customer.operation)
        if not operations:
            del self._operations[customer.user]
            self._users.leave(customer.user)
