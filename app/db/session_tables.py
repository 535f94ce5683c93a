"""Tables of browser sessions; part of the metadata of ``app/db/tables.py``."""

from sqlalchemy import Column, DateTime, ForeignKey, LargeBinary, Table, Uuid, func

from app.db.tables import metadata

# Whoever has the token of a session may what its key may, for some hours; one that has ended has no row.
browser_sessions = Table(
    "browser_sessions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("key_id", ForeignKey("api_keys.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True), nullable=False),
)

# A code begins one session; one that was used has no row.
sign_in_codes = Table(
    "sign_in_codes",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("key_id", ForeignKey("api_keys.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True), nullable=False),
)
