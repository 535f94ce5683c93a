"""The order in which waiting texts go."""

import asyncio
from collections import Counter
from contextlib import nullcontext
from uuid import UUID, uuid4

import numpy as np

from app.pipeline.fair_queue import Customer, FairQueue, Ticket


async def _tell(_: str | None) -> None: ...


def customer_of(user: UUID) -> Customer:
    """A new operation of a user."""
    return Customer(user=user, operation=uuid4(), go_on=lambda: None, on_wait=_tell, busy=lambda _: nullcontext())


def ticket_of(customer: Customer, *, texts: int, tokens: int = 10) -> Ticket:
    """A ticket of texts of one length."""
    return Ticket(
        customer=customer,
        texts=["text"] * texts,
        tokens=[tokens] * texts,
        vectors=np.zeros((texts, 2), dtype=np.float32),
        answer=asyncio.get_running_loop().create_future(),
        left=texts,
    )


async def test_users_share_by_tokens_whatever_they_have_waiting() -> None:
    """A user with two operations and one with a single one get the same; long texts count as what they are."""
    queue = FairQueue()
    ours, theirs = uuid4(), uuid4()
    queue.add(ticket_of(customer_of(ours), texts=1000))
    queue.add(ticket_of(customer_of(ours), texts=1000))
    queue.add(ticket_of(customer_of(theirs), texts=1000, tokens=40))

    taken = queue.take(max_texts=1000, max_tokens=8000)

    tokens: Counter[UUID] = Counter()
    for text in taken:
        tokens[text.ticket.customer.user] += text.tokens
    assert tokens == {ours: 4000, theirs: 4000}


async def test_operations_of_a_user_share_too() -> None:
    """The second operation does not wait for the first."""
    queue = FairQueue()
    user = uuid4()
    big, small = customer_of(user), customer_of(user)
    queue.add(ticket_of(big, texts=1000))
    queue.add(ticket_of(small, texts=20))

    taken = Counter(text.ticket.customer.operation for text in queue.take(max_texts=40, max_tokens=10_000))

    assert taken == {big.operation: 20, small.operation: 20}


async def test_nobody_saves_up_a_claim_by_not_asking() -> None:
    """Who comes when another has been served for long gets half from then on, not everything."""
    queue = FairQueue()
    first, second = customer_of(uuid4()), customer_of(uuid4())
    queue.add(ticket_of(first, texts=10_000))
    queue.take(max_texts=5000, max_tokens=10**9)
    queue.add(ticket_of(second, texts=5000))

    taken = Counter(text.ticket.customer.operation for text in queue.take(max_texts=1000, max_tokens=10**9))

    assert taken == {first.operation: 500, second.operation: 500}


async def test_what_is_taken_out_does_not_go() -> None:
    """The rest of the line goes on, in order, and the queue is empty at the end."""
    queue = FairQueue()
    customer = customer_of(uuid4())
    gone, stays = ticket_of(customer, texts=10), ticket_of(customer, texts=10)
    queue.add(gone)
    queue.add(stays)
    first = queue.take(max_texts=3, max_tokens=1000)
    queue.discard(gone)
    queue.discard(gone)

    rest = queue.take(max_texts=100, max_tokens=10_000)

    assert [text.index for text in first] == [0, 1, 2]
    assert [text.index for text in rest] == list(range(10))
    assert all(text.ticket is stays for text in rest)
    assert not queue
