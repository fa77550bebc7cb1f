import sqlite3

import pytest
from bookshop import app

from anylifespan.testing import asgi_client


@pytest.mark.anyio
async def test_the_database_is_closed():
    async with asgi_client(app) as client:
        database = client.lifespan.state["database"]
        assert database.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        database.execute("SELECT 1")
