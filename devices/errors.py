"""What can go wrong with an instrument, and what a person may be told."""


class DriverError(Exception):
    """An instrument, its link or its description is at fault."""


class LinkError(DriverError):
    """The link is gone or silent: close it, connect again later."""


class InUse(LinkError):
    """Somebody else has the instrument, or the way to it, to himself: try again later."""


class ReplyError(DriverError):
    """The instrument answered something unusable: a bad reading, but the link is kept."""


class ConfigurationError(DriverError):
    """The order cannot work as it is written: do not try again until it changes."""


class Refused(Exception):
    """What was asked may not be done, with the reason in words for the person who asked."""
