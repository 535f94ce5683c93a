"""SQL texts, parsed once."""

from functools import cache
from typing import Any

from sqlalchemy import TextClause, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import BigInteger, LargeBinary, Text, TypeEngine

UUIDS = ARRAY(Uuid)
TEXTS = ARRAY(Text)
INTEGERS = ARRAY(BigInteger)
BYTES = ARRAY(LargeBinary)
JSON = JSONB()
JSON_OR_NULL = JSONB(none_as_null=True)


@cache
def parsed(sql: str, **types: TypeEngine[Any]) -> TextClause:
    """The statement of a text and the types of its parameters that the driver cannot tell.

    Kept, for finding the parameters in a long text takes as long as a short answer of Postgres. So ``sql`` must not
    hold values.
    """
    return text(sql).bindparams(*(bindparam(name, type_=kind) for name, kind in types.items()))
