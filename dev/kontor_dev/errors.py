"""What can go wrong in a way that the user can do something about."""


class Refused(Exception):
    """The command cannot do what was asked; the text says why and what helps."""

    exit_code = 1


class WrongUsage(Refused):
    """The command was called with arguments that it does not take."""

    exit_code = 2


class NothingRuns(Refused):
    """There is no running instance on the data folder."""


class StartFailed(Refused):
    """A part did not come up; the text holds the end of its log."""


class Stopped(Exception):
    """The user asked to stop while something was still starting."""
