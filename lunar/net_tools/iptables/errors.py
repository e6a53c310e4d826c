"""What iptables says when it refuses, in its own words and with its exit codes."""

from __future__ import annotations

from typing import Final

from lunar.net_tools.errors import CommandError

VERSION: Final = "1.8.9"


class IptablesError(CommandError):
    """A refusal. `status` is the exit code of the real tool: 2 for a command line that it does not understand, 1 for
    what the kernel refuses, 3 for a table that is not there.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class ParameterProblem(IptablesError):
    """The command line is wrong. `said` is what is wrong of it; the tool's name comes before it."""

    def __init__(self, said: str) -> None:
        super().__init__(said, 2)
        self.said = said

    def by(self, tool: str) -> IptablesError:
        """As the tool `tool` says it."""
        said = self.said if self.said.startswith("Bad argument") else f"{tool} v{VERSION} (legacy): {self.said}"
        return IptablesError(f"{said}\nTry `{tool} -h' or '{tool} --help' for more information.", 2)


class Refused(IptablesError):
    """What the kernel refuses, as iptables words its errno."""

    def __init__(self, said: str) -> None:
        super().__init__(said, 1)
        self.said = said

    def by(self, tool: str) -> IptablesError:
        """As the tool `tool` says it."""
        return IptablesError(f"{tool}: {self.said}", 1)


def no_such() -> Refused:
    """ENOENT."""
    return Refused("No chain/target/match by that name.")


def invalid() -> Refused:
    """EINVAL."""
    return Refused("Invalid argument. Run `dmesg' for more information.")
