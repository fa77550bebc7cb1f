from database import connect
from quart_trio import QuartTrio

app = QuartTrio(__name__)


@app.while_serving
async def serving():
    await connect()
    yield
