from channels.routing import ProtocolTypeRouter
from database import lifespan
from django.conf import settings
from django.core.asgi import get_asgi_application

from anylifespan import with_lifespan

urlpatterns = []
settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__)
app = with_lifespan(ProtocolTypeRouter({"http": get_asgi_application()}), lifespan)
