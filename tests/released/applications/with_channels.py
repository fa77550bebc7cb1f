from channels.routing import ProtocolTypeRouter
from database import lifespan
from django.conf import settings
from django.core.asgi import get_asgi_application

from anylifespan import with_lifespan

settings.configure(SECRET_KEY="of a test", ALLOWED_HOSTS=["*"])
app = with_lifespan(ProtocolTypeRouter({"http": get_asgi_application()}), lifespan)
