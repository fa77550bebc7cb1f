import pytest


def books(database):
    return [book for (book,) in database.execute("SELECT book FROM orders")]


def test_an_order_is_in_the_database(asgi_sync_client):
    asgi_sync_client.post("/orders/Emma")
    lifespan = asgi_sync_client.lifespan
    # In the thread of the application, to which its database belongs.
    assert lifespan.call(books, lifespan.state["database"]) == ["Emma"]


@pytest.mark.anyio
async def test_an_order_is_in_the_database_in_an_asynchronous_test(asgi_client):
    await asgi_client.post("/orders/Emma")
    assert books(asgi_client.lifespan.state["database"]) == ["Emma"]
