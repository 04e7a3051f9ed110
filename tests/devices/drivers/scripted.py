"""A link whose other side is a script: what is asked, and what is then answered."""

from devices.links.base import Address, LineLink

Exchange = tuple[str, str | bytes]


class ScriptedLink(LineLink):
    """Plays exchanges in order; asking anything else fails the test."""

    def __init__(self, *exchanges: Exchange) -> None:
        super().__init__(Address.parse("tcp://scripted:23"), 1.0)
        self.exchanges = list(exchanges)

    async def ask(self, request: bytes) -> bytes:
        assert self.exchanges, f"nothing more was to be asked, but {request!r} was"
        question, answer = self.exchanges.pop(0)
        assert request == question.encode() + b"\n"
        return answer if isinstance(answer, bytes) else answer.encode()
