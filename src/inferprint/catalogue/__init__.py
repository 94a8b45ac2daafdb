"""What is known about models, hardware, services and places, and the way from a name to a record."""

from inferprint.catalogue.load import Catalogue
from inferprint.catalogue.match import (
    ModelMatch,
    resolve_gpu,
    resolve_grid,
    resolve_model,
    resolve_node,
    resolve_precision,
    resolve_region,
    resolve_service,
)
from inferprint.catalogue.records import (
    Form,
    Gpu,
    Grid,
    Model,
    Node,
    Operator,
    Precision,
    Prior,
    Record,
    Region,
    Service,
    ShapeFit,
)

__all__ = [
    "Catalogue",
    "Form",
    "Gpu",
    "Grid",
    "Model",
    "ModelMatch",
    "Node",
    "Operator",
    "Precision",
    "Prior",
    "Record",
    "Region",
    "Service",
    "ShapeFit",
    "resolve_gpu",
    "resolve_grid",
    "resolve_model",
    "resolve_node",
    "resolve_precision",
    "resolve_region",
    "resolve_service",
]
