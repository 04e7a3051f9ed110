"""Names of a laboratory as parts of topics, and as ids of Home Assistant."""

import hashlib
import re
from functools import lru_cache

LEVELS = ("state", "availability", "alarms", "run", "event")  # what an instrument has beside its channels
_SPECIAL = re.compile(r"[%+#/\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # MQTT 5, 1.5.4 and 4.7.1
_OTHER = re.compile(r"[^A-Za-z0-9_-]")


@lru_cache(1 << 16)
def level(name: str) -> str:
    """A name as one level of a topic: what has a meaning there is written as in a URL (`/` as %2F)."""
    return _SPECIAL.sub(_percent, name) or "%"


def channel(key: str) -> str:
    """The same of a channel's key, which stands beside an instrument's own topics: `state` is %73tate."""
    return f"%{ord(key[0]):02X}{key[1:]}" if key in LEVELS else level(key)


def identifier(key: str) -> str:
    """What Home Assistant takes as an id; of two keys never the same."""
    plain = _OTHER.sub("_", key)
    if plain == key:
        return plain
    return f"{plain}_{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"


def is_prefix(text: str) -> bool:
    """Whether topics can begin with this."""
    return bool(text) and not text.startswith("$") and not re.search(r"[+#\x00-\x1f]|^/|/$|//", text)


def _percent(found: "re.Match[str]") -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogatepass"))
