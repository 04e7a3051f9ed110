"""The polling loop's side of the edge: the order book made into tickers on lanes. Only the loop calls it."""

import asyncio
import gc
import logging
from collections.abc import Callable

from devices.edge.clock import Clock, mono, wall
from devices.edge.doorway import Doorway
from devices.edge.health import Tally
from devices.edge.lane import Lane, Ticker
from devices.edge.orders import Kept, OrderBook
from devices.edge.recorder import Recorder
from devices.edge.session import Session
from devices.edge.trial import Answer, Trial, Trials
from devices.errors import ConfigurationError
from devices.links.base import Address
from devices.wire import Once, Order

logger = logging.getLogger(__name__)

FLUSH_EVERY = 1.0  # seconds; what a power cut loses at most
SECOND = 1.0
SETTLED_AFTER = 10  # seconds


class Poller:
    """All instruments of the edge. `keep(book)` has a changed order book written to disk."""

    def __init__(
        self,
        book: OrderBook,
        recorder: Recorder,
        clock: Clock,
        tally: Tally,
        keep: Callable[[Kept], None],
        flush_every: float = FLUSH_EVERY,
    ) -> None:
        self.book = book
        self._flush_every = flush_every
        self._second_at = 0.0
        self.polling = True
        self._recorder, self._clock, self._tally, self._keep = recorder, clock, tally, keep
        self._doorway = Doorway()
        self._lanes: dict[str, Lane] = {}
        self._tickers: dict[str, Ticker] = {}
        self._trials = Trials(clock)
        self._unkept = False
        self._settle_in = SETTLED_AFTER
        self._connects = 0

    async def run(self, until: asyncio.Event) -> None:
        """Poll until told to stop; then all links are closed."""
        self.follow_book()
        loop = asyncio.get_running_loop()
        at = loop.time()
        while not until.is_set():
            at += self._flush_every
            timer = loop.call_at(at, self._tick)
            await self._wait(until, at)
            timer.cancel()
            at = max(at, loop.time() - self._flush_every)
        await self._close_all()

    def changed(self, instrument: str = "") -> None:
        """The order book has changed, for one instrument or in any way: act on it now, write it down within
        the second."""
        self._unkept = True
        if instrument:
            self._follow(instrument)
        else:
            self.follow_book()

    def try_once(self, order: Order, once: Once, answer: Answer) -> None:
        """Poll once, in the link's turn, and hand over what came of it; nothing of it is recorded."""
        if self.polling and self._trials.takes(once):
            self._trials.begin(self._try(order, once, answer))

    def hold(self, holder: bool) -> None:
        """Poll only while this instance holds the edge's name."""
        self.polling = holder
        self.follow_book()

    def compare_clock(self, sent: int, received: int, replied: int, arrived: int) -> None:
        """Take one exchange of stamps with the centre."""
        sure = self._clock.sure
        moved = self._clock.compare(sent, received, replied, arrived)
        if moved:
            logger.warning("the clock was set from the centre's")
        if moved or sure != self._clock.sure:
            self._recorder.cut()

    def follow_book(self) -> None:
        """Start, change and stop tickers until they are what the book says."""
        for instrument in [*self._tickers, *self.book.orders]:
            self._follow(instrument)

    def _follow(self, instrument: str) -> None:
        order = self.book.orders.get(instrument) if self.polling else None
        ticker = self._tickers.get(instrument)
        if order is None:
            self._leave(instrument)
        elif ticker is None:
            self._tickers[instrument] = self._begin(order)
        elif ticker.session.order != order:
            self._change(ticker, order)

    async def _try(self, order: Order, once: Once, answer: Answer) -> None:
        name = _lane_name(order)
        lane = self._lanes.setdefault(name, Lane())
        ticker = self._tickers.get(order.instrument)
        answer(await Trial(order, once, lane, ticker.session if ticker else None).run())
        if lane.is_unused and not any(ticker.lane is lane for ticker in self._tickers.values()):
            del self._lanes[name]
            await lane.close()

    async def _wait(self, until: asyncio.Event, at: float) -> None:
        try:
            async with asyncio.timeout_at(at):
                await until.wait()
        except TimeoutError:
            pass

    def _tick(self) -> None:
        """Have all saved; and once a second what is done that often."""
        now = asyncio.get_running_loop().time()
        if now >= self._second_at:
            self._second_at = now + SECOND - self._flush_every / 2
            self._second()
        self._recorder.flush()

    def _second(self) -> None:
        if self._clock.follow(wall(), mono()):
            logger.warning(
                "the host's clock was set; readings keep the time they had until the centre is asked"
            )
            self._recorder.cut()
        self._tally.lateness.turn()
        if self._unkept:
            self._unkept = False
            self._keep(self.book.kept())
            self._settle_in = SETTLED_AFTER
        self._settle()

    def _settle(self) -> None:
        """Some seconds after the book changed and many sessions were opened, what lives now lives long: the
        garbage collector need not walk through it again and again, which would hold up thousands of polls."""
        if self._tally.connects - self._connects > len(self._tickers) // 100:
            self._settle_in = SETTLED_AFTER
        self._connects = self._tally.connects
        self._settle_in -= 1
        if self._settle_in == 0:
            gc.freeze()

    def _begin(self, order: Order) -> Ticker:
        lane = self._lanes.setdefault(_lane_name(order), Lane())
        session = Session(order, self._recorder, self._clock, self._tally, self._doorway)
        return Ticker(session, lane, self._recorder, self._clock, self._tally)

    def _change(self, ticker: Ticker, order: Order) -> None:
        session = ticker.session
        if session.serves(order):
            before, session.order = session.order, order
            if (before.interval, before.phase) != (order.interval, order.phase):
                ticker.keep_time(order)
            return
        self._leave(order.instrument)
        self._tickers[order.instrument] = self._begin(order)

    def _leave(self, instrument: str) -> None:
        if ticker := self._tickers.pop(instrument, None):
            ticker.lane.leave(ticker)

    async def _close_all(self) -> None:
        await self._trials.close()
        for ticker in self._tickers.values():
            ticker.stop()
        await asyncio.gather(*(lane.close() for lane in self._lanes.values()))
        await asyncio.gather(*(ticker.session.close() for ticker in self._tickers.values()))


def _lane_name(order: Order) -> str:
    try:
        return Address.parse(order.address).lane
    except ConfigurationError:
        return order.address  # its session will say what is wrong with it
