"""What operations make, and keep in a row of its own with a state: benchmarks and projections.

The row says ``completed`` in the transaction that keeps the result. What became of it otherwise is what became of its
operation, which may be retried, or gone.
"""

from typing import Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.statements import parsed

ProductTable = Literal["benchmarks", "projections"]


def state_of(product: str) -> str:
    """SQL of the state of the row ``product``, whose operation is ``o``, if there still is one."""
    return f"""CASE WHEN {product}.state = 'completed' THEN {product}.state
        WHEN o.state IN ('pending', 'running') THEN 'running'
        WHEN {product}.state = 'running' AND o.state IN ('failed', 'cancelled') THEN o.state
        ELSE {product}.state END"""


def error_code_of(product: str) -> str:
    """SQL of why it has none, in the same way."""
    return f"""CASE WHEN {product}.state = 'running' THEN coalesce({product}.error_code, o.error_code)
        ELSE {product}.error_code END"""


async def end_stale(
    connection: AsyncConnection, table: ProductTable, *, older_than_seconds: float, dry_run: bool
) -> int:
    """Rows whose operation is gone, or has ended without them, become failed or cancelled; how many they are."""
    stale = f"""SELECT p.id, coalesce(o.state, 'failed') AS state,
                       coalesce(o.error_code, CASE WHEN o.id IS NULL THEN 'operation_not_found' END) AS error_code
                FROM {table} p LEFT JOIN operations o ON o.id = p.operation_id
                WHERE p.state = 'running' AND p.created_at < now() - make_interval(secs => :age)
                  AND (o.id IS NULL OR o.state IN ('failed', 'cancelled', 'completed'))"""
    values = {"age": older_than_seconds}
    if dry_run:
        counted = await connection.execute(parsed(f"SELECT count(*) FROM ({stale}) s"), values)
        return int(counted.scalar_one())
    ended = await connection.execute(
        parsed(
            f"""UPDATE {table} p SET finished_at = now(), error_code = s.error_code,
                       state = CASE WHEN s.state = 'cancelled' THEN 'cancelled' ELSE 'failed' END
                FROM ({stale}) s WHERE p.id = s.id AND p.state = 'running'"""
        ),
        values,
    )
    return ended.rowcount
