"""The toolkit's own addresses, and a page on which a person logs in, without a script."""

from django.contrib.auth import authenticate, login
from django.http import HttpResponse, HttpResponseRedirect
from django.urls import include, path
from django.utils.html import format_html

PAGE = '<form method="post" action="{}"><input name="username"><input name="password" type="password"></form>'


def log_in(request):
    """Go on to where the person came from, once the password is right."""
    person = authenticate(request, username=request.POST.get("username"), password=request.POST.get("password"))
    if person is None:
        return HttpResponse(format_html(PAGE, request.get_full_path()))
    login(request, person)
    return HttpResponseRedirect(request.GET["next"])


urlpatterns = [path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")), path("log-in/", log_in)]
