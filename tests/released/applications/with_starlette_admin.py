from database import lifespan
from sqlalchemy import create_engine
from starlette.applications import Starlette
from starlette_admin.contrib.sqla import Admin

app = Starlette(lifespan=lifespan)
Admin(create_engine("sqlite://")).mount_to(app)
