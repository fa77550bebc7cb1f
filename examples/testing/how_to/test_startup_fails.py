import sqlite3

import pytest
from bookshop import app

from anylifespan import StartupFailed
from anylifespan.testing import asgi_client, asgi_sync_client


def test_without_its_database(monkeypatch):
    monkeypatch.setenv("DATABASE", "/nowhere/orders.db")
    with (
        pytest.raises(StartupFailed, match="unable to open database file") as caught,
        asgi_sync_client(app),
    ):
        pass
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)


@pytest.mark.anyio
async def test_without_its_database_in_an_asynchronous_test(monkeypatch):
    monkeypatch.setenv("DATABASE", "/nowhere/orders.db")
    with pytest.raises(StartupFailed, match="unable to open database file"):
        async with asgi_client(app):
            pass
