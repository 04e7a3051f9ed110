"""Static files, served by the web process itself under names that carry a hash of their content."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import StaticFile
from whitenoise.storage import CompressedManifestStaticFilesStorage


class HashedStorage(CompressedManifestStaticFilesStorage):
    """Hashed where `collectstatic` has run; plain names where it has not, as in tests."""

    manifest_strict = False
    support_js_module_import_aggregation = True
    # Only in our own modules: in the large bundles of others there is nothing to be found, slowly.
    _js_module_import_aggregation_patterns = (
        "labsite/*.js",
        CompressedManifestStaticFilesStorage._js_module_import_aggregation_patterns[1],  # noqa: SLF001
    )

    def stored_name(self, name: str) -> str:
        if not self.hashed_files:
            return name
        return str(super().stored_name(name))

    def compress_files(self, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Those that are new since the last time: compressing all takes most of `collectstatic`'s time."""
        return super().compress_files([path for path in paths if not self.is_compressed(path)])  # type: ignore[no-any-return]

    def is_compressed(self, path: str) -> bool:
        """Whether there is a compressed file of the same time beside it, or none is worth the while."""
        plain = Path(self.path(path))
        packed = plain.with_name(plain.name + ".gz")
        return plain.suffix == ".map" or (packed.exists() and packed.stat().st_mtime == plain.stat().st_mtime)


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


def icon(_request: HttpRequest) -> str:
    """Where the icon of all pages is. Named by its path in the settings, which are to load without Django."""
    return static("labsite/icon.svg")
