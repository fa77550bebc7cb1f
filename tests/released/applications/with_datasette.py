from database import connect
from datasette import hookimpl
from datasette.app import Datasette
from datasette.plugins import pm


class Plugin:
    __name__ = "database"

    @hookimpl
    def startup(self, datasette):
        return connect


pm.register(Plugin(), "database")
app = Datasette(memory=True).app()
