"""One request in, one result out."""

from inferprint.estimate.estimate import Estimator, default_catalogue, estimate, request_from
from inferprint.estimate.request import Request
from inferprint.estimate.result import Result

__all__ = ["Estimator", "Request", "Result", "default_catalogue", "estimate", "request_from"]
