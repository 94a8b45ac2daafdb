"""The errors that Inferprint raises, as one tree.

    InferprintError
    ├── UnknownName           a model, GPU, node, service, region, zone ... that no catalogue holds
    ├── InvalidInput          a request field that cannot be: negative, missing, contradictory
    ├── DoesNotFit            a model that the stated hardware cannot hold
    ├── LimitNotMet           a limit that no batch, or no configuration of a plan, keeps
    ├── Undisclosed           a value that is needed, that nobody has published and that was not given
    ├── CatalogueError        a data file or artefact that breaks the schema
    ├── FileProblem           a usage file that cannot be read, mapped or written
    ├── EndpointProblem       a server that is to be measured and cannot be: away, refusing, not understood
    └── MeterProblem          a meter, or a server's counters, missing, unreadable or with readings that cannot be

Each message says what was asked, what is nearest and what to do next. The command line prints it and exits with 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class InferprintError(Exception):
    """Base of everything that Inferprint raises on purpose.

    Parameters
    ----------
    message
        What was asked and what is wrong with it, one sentence.
    hint
        What to do next: the nearest names, the allowed range, the command that lists what there is.
    field
        The request field at fault, where there is one.
    """

    def __init__(self, message: str, *, hint: str = "", field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.field = field

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message

    def to_dict(self) -> dict[str, str]:
        """The error as plain data: its type, what is wrong, what to do, and the field where one is at fault."""
        return {
            "type": type(self).__name__,
            "message": self.message,
            "hint": self.hint,
            "field": self.field,
        }


FIELD_OF_KIND = {
    "model": "model_id",
    "GPU": "gpu_id",
    "node": "node_id",
    "service": "managed_service_id",
    "cloud": "cloud_id",
    "region": "cloud_region",
    "country or grid zone": "country",
    "precision": "precision",
    "technique": "techniques",
}
"""The request field in which a kind of name is asked."""


class UnknownName(InferprintError):
    """A name that no catalogue holds; it is never replaced by a similar one.

    Parameters
    ----------
    kind
        What was looked for: "model", "GPU", "node", "service", "region", "grid zone", "technique".
    asked
        The name as it was given.
    nearest
        Existing names closest to it, best first.
    command
        The command that lists what exists.
    """

    def __init__(self, kind: str, asked: str, nearest: Sequence[str], command: str) -> None:
        names = ", ".join(nearest)
        near = f"Nearest: {names}. " if names else ""
        hint = f"{near}List them: {command}"
        super().__init__(f"unknown {kind} '{asked}'", hint=hint, field=FIELD_OF_KIND.get(kind, ""))
        self.kind = kind
        self.asked = asked
        self.nearest = tuple(nearest)


class InvalidInput(InferprintError):
    """A field that cannot have the value it was given.

    Parameters
    ----------
    field
        Name of the request field, as in the API.
    message
        What is wrong, with the value.
    """

    def __init__(self, field: str, message: str, *, hint: str = "") -> None:
        super().__init__(f"{field}: {message}", hint=hint, field=field)


class DoesNotFit(InferprintError):
    """The stated hardware cannot hold the model's weights and cache.

    Parameters
    ----------
    needed_bytes, available_bytes
        Memory that weights, cache and work space need, and usable memory of the stated devices [bytes].
    """

    def __init__(self, message: str, *, needed_bytes: float, available_bytes: float, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.needed_bytes = needed_bytes
        self.available_bytes = available_bytes


class LimitNotMet(InferprintError):
    """A limit that not even one request alone keeps, or limits that no configuration of a plan keeps together.

    Parameters
    ----------
    field
        The limit that binds.
    nearest_ms
        The least time that can be reached [ms]; None where the limit is on something else.
    nearest
        The nearest that can be reached by limit, each in its own unit; for a plan.
    """

    def __init__(
        self,
        field: str,
        message: str,
        *,
        nearest_ms: float | None,
        hint: str,
        nearest: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(f"{field}: {message}", hint=hint, field=field)
        self.nearest_ms = nearest_ms
        self.nearest = dict(nearest or {})


class Undisclosed(InferprintError):
    """A needed value that has not been published and was not given."""


class CatalogueError(InferprintError):
    """A data file, a user's catalogue folder or the packaged artefact breaks the schema."""


class FileProblem(InferprintError):
    """A usage file cannot be read, mapped or written."""


class MeterProblem(InferprintError):
    """A meter or a server's counters are not there, cannot be read, or give readings that cannot be."""


class EndpointProblem(InferprintError):
    """A server that is to be measured cannot be reached, refuses, or does not answer as it is to."""
