from database import connect
from quart import Quart

app = Quart(__name__)


@app.while_serving
async def serving():
    await connect()
    yield
