from blacksheep import Application
from database import connect

app = Application()


@app.on_start
async def start(app: Application) -> None:
    await connect()
