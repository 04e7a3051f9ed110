"""Static files, served by the web process itself under names that carry a hash of their content."""

from pathlib import Path

from django.http import HttpRequest, HttpResponse
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import StaticFile
from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedStorage(CompressedManifestStaticFilesStorage):
    """Hashed where `collectstatic` has run; plain names where it has not, as in tests."""

    manifest_strict = False
    support_js_module_import_aggregation = True

    def stored_name(self, name: str) -> str:
        if not self.hashed_files:
            return name
        return str(super().stored_name(name))


class StaticFiles(WhiteNoiseMiddleware):
    """WhiteNoise, whose files are small enough to be answered whole.

    Its own answer is a synchronous stream, of which Django warns under an asynchronous server.
    """

    def add_files(self, root: str, prefix: str | None = None) -> None:
        if Path(root).is_dir():  # not before `collectstatic` has run
            super().add_files(root, prefix)

    @staticmethod
    def serve(static_file: StaticFile, request: HttpRequest) -> HttpResponse:
        found = static_file.get_response(request.method, request.META)
        content = b""
        if found.file is not None:
            with found.file:
                content = found.file.read()
        reply = HttpResponse(content, status=int(found.status))
        del reply["content-type"]
        for name, value in found.headers:
            reply[name] = value
        return reply
