from __future__ import annotations

import pytest

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client() -> str:
    return "hello"


async def test_greeting(client: str, number: int) -> None:
    assert client == "hello"
