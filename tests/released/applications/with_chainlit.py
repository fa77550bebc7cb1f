from pathlib import Path
from tempfile import mkdtemp

from chainlit.utils import mount_chainlit
from database import lifespan
from fastapi import FastAPI

chat = Path(mkdtemp(), "chat.py")
chat.write_text("import chainlit\n")
app = FastAPI(lifespan=lifespan)
mount_chainlit(app=app, target=str(chat), path="/chat")
