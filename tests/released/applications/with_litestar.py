from database import connect
from litestar import Litestar
from litestar.plugins.sqlalchemy import SQLAlchemyAsyncConfig, SQLAlchemyPlugin

config = SQLAlchemyAsyncConfig(connection_string="sqlite+aiosqlite:///:memory:", create_all=True)
app = Litestar(plugins=[SQLAlchemyPlugin(config)], on_startup=[connect])
