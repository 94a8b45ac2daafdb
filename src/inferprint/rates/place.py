"""From a place setup to a place card: PUE, site water, grid. What is not stated is assumed, with its range."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from inferprint.catalogue import (
    Catalogue,
    Grid,
    Prior,
    Region,
    Service,
    resolve_grid,
    resolve_region,
    resolve_service,
)
from inferprint.errors import InvalidInput, UnknownName
from inferprint.provenance.source import Provenance
from inferprint.provenance.trace import How, Trail
from inferprint.quantities import Range
from inferprint.rates.card import PlaceCard
from inferprint.rates.draws import Sampler, full
from inferprint.rates.setup import PlaceSetup

LIMITS = {
    "pue": (1.0, 5.0),
    "wue_l_per_kwh": (0.0, 50.0),
    "grid_gco2e_per_kwh": (0.0, 3000.0),
    "grid_market_gco2e_per_kwh": (0.0, 3000.0),
    "grid_water_l_per_kwh": (0.0, 200.0),
}
"""What a caller may state; beyond it lies a mistake of unit."""

OPERATORS = {"azure": "microsoft", "gcp": "google", "oci": "oracle"}
"""Company that reports on the data centres of a cloud, where it has another name."""

OFFICIAL = ("us_national", "country_official")
"""Kinds of grid rows that a government or agency publishes for a whole country, direct emissions only."""


@dataclass(slots=True)
class _Place:
    """What is known of a place while it is resolved."""

    catalogue: Catalogue
    setup: PlaceSetup
    trail: Trail
    sampler: Sampler
    service: Service | None
    region: Region | None

    def prior(self, name: str) -> Prior:
        return self.catalogue.priors[name]

    def note(
        self, name: str, value: str | Range, unit: str, how: How, reason: str, origin: Provenance | None = None
    ) -> None:
        self.trail.add(name, value, unit, how, reason, origin)


def resolve_place(catalogue: Catalogue, setup: PlaceSetup) -> PlaceCard:
    """Resolve a place setup into a place card.

    Raises
    ------
    UnknownName
        A region, country, zone or service that the catalogue does not hold.
    InvalidInput
        A stated factor that cannot be.
    """
    for name, (low, high) in LIMITS.items():
        value = getattr(setup, name)
        if value is not None and not low <= value <= high:
            raise InvalidInput(name, f"{value:g} is out of range", hint=f"{low:g} to {high:g}.")
    trail, sampler = Trail(), Sampler()
    service = resolve_service(catalogue, setup.managed_service_id) if setup.managed_service_id else None
    cloud = _known_cloud(catalogue, setup.cloud_id) if setup.cloud_id else None
    region = _region(catalogue, setup, service) if setup.cloud_region else None
    _check_place(catalogue, setup, cloud, region, service)
    place = _Place(catalogue, setup, trail, sampler, service, region)
    pue_key, pue = _pue(place)
    wue_key, wue = _wue(place)
    grid, certain = _grid(place)
    return PlaceCard(
        pue=full(sampler.spread(pue_key, pue, minimum=1.0)),
        wue=full(sampler.spread(wue_key, wue)),
        intensity=full(_intensity(place, grid, certain)),
        market_intensity=full(_market(place, grid)),
        water=full(_grid_water(place, grid)),
        water_excluding_hydro=full(_water_excluding_hydro(place, grid)),
        sources=sampler.sources,
        trail=trail,
    )


def _region(catalogue: Catalogue, setup: PlaceSetup, service: Service | None) -> Region:
    """The stated region; a service that runs on one cloud says whose it is."""
    cloud = setup.cloud_id or (_only_cloud(catalogue, service) if ":" not in (setup.cloud_region or "") else None)
    return resolve_region(catalogue, setup.cloud_region or "", cloud)


def _check_place(
    catalogue: Catalogue, setup: PlaceSetup, cloud: str | None, region: Region | None, service: Service | None
) -> None:
    """What is said about the place agrees with itself: cloud, region, country, zone, and a service of one cloud."""
    only = _only_cloud(catalogue, service)
    if region is not None and only is not None and region.cloud != only:
        raise InvalidInput("cloud_region", f"{region.id} is not a region of {only}, on which {_called(service)} runs")
    if region is not None and cloud not in (None, region.cloud):
        raise InvalidInput("cloud_region", f"{region.id} is not a region of {setup.cloud_id}", hint="Give one of them.")
    stated = resolve_grid(catalogue, setup.country) if setup.country else None
    zone = resolve_grid(catalogue, setup.grid_zone, "grid_zone") if setup.grid_zone else None
    if stated is not None and region is not None and region.country not in (stated.country, stated.id):
        message = f"{stated.name} contradicts {region.id}, which is in {region.country}"
        raise InvalidInput("country", message, hint="Give one of them.")
    if stated is not None and zone is not None and zone.country not in (None, stated.country, stated.id):
        raise InvalidInput("country", f"{stated.name} contradicts the grid zone {zone.id}", hint="Give one of them.")


def _known_cloud(catalogue: Catalogue, name: str) -> str:
    """A cloud that has regions or nodes in the catalogue."""
    regions, nodes = catalogue.regions.values(), catalogue.nodes.values()
    clouds = sorted({known.cloud for known in regions} | {known.cloud for known in nodes})
    if name.lower() not in clouds:
        near = difflib.get_close_matches(name.lower(), clouds, n=3, cutoff=0.4)
        raise UnknownName("cloud", name, near or clouds, "inferprint catalog regions")
    return name.lower()


def _called(service: Service | None) -> str:
    """How messages call a service."""
    return service.name if service is not None else "the service"


def _only_cloud(catalogue: Catalogue, service: Service | None) -> str | None:
    """The cloud of a service that runs on one alone; None where there are several, or it is not known as a cloud."""
    if service is None or len(service.clouds) != 1:
        return None
    known = any(region.cloud == service.clouds[0] for region in catalogue.regions.values())
    return service.clouds[0] if known else None


def _fleet(place: _Place) -> list[Any]:
    """Published fleet averages of the clouds that may run the request, newest first."""
    cloud = place.region.cloud if place.region else place.setup.cloud_id
    operator = OPERATORS.get(cloud or "", cloud)
    fleets = [o for o in place.catalogue.operators.values() if o.operator == operator]
    return sorted(fleets, key=lambda o: o.year or 0, reverse=True)


def _facility(place: _Place, name: str, unit: str, widened: Callable[[float], Range], key: str) -> tuple[str, Range]:
    """PUE or site water, by the first that is there; and the name of its error source.

    Stated, published for the region, record of the service, fleet average of the cloud, prior.

    Parameters
    ----------
    name
        Field of setup, region, service and operator.
    widened
        Gives a published value without a range the usual one.
    key
        What the error is called; in lower case also the priors.
    """
    region, service = place.region, place.service
    stated = getattr(place.setup, name)
    if stated is not None:
        place.note(name, Range.exact(stated), unit, "given", "stated by the caller")
        return f"{key}:given", Range.exact(stated)
    if region is not None and (published := getattr(region, name)) is not None:
        place.note(name, widened(published), unit, "catalogue", f"published for {region.id}", region.origin(name))
        return f"{key}:{region.id}", widened(published)
    if service is not None and (assumed := getattr(service, name)) is not None:
        place.note(name, assumed, unit, "assumed", f"assumed for {service.name}", service.origin(name))
        return f"{key}:{service.id}", assumed
    for fleet in _fleet(place):
        if (average := getattr(fleet, name)) is not None:
            value = average if average.low != average.high else widened(average.value)
            place.note(name, value, unit, "assumed", f"fleet average of {fleet.operator}", fleet.origin(name))
            return f"{key}:{fleet.operator}", value
    prior = place.prior(f"{key.lower()}.{'desk' if place.setup.hosting == 'desk' else 'unknown'}")
    place.note(name, prior.value, unit, "assumed", prior.meaning, prior.origin("value"))
    return f"{key}:{prior.id}", prior.value


def _pue(place: _Place) -> tuple[str, Range]:
    """PUE and the name of its error source."""
    spread = place.prior("pue.known-spread").value
    return _facility(place, "pue", "ratio", lambda v: Range(v, max(v + spread.low, 1.0), v + spread.high), "PUE")


def _wue(place: _Place) -> tuple[str, Range]:
    """Site water per kWh of IT energy and the name of its error source."""
    spread = place.prior("wue.known-spread").value
    return _facility(place, "wue_l_per_kwh", "L/kWh of IT energy", spread.scaled, "WUE")


def _grid(place: _Place) -> tuple[Grid, Range]:
    """The grid zone, and the factor by which its place is uncertain."""
    setup, catalogue, exact = place.setup, place.catalogue, Range.exact(1.0)
    if setup.grid_zone:
        grid = resolve_grid(catalogue, setup.grid_zone, "grid_zone")
        place.note("grid_zone", grid.id, "", "given", grid.name, grid.origin("name"))
        return grid, exact
    if place.region is not None:
        grid = catalogue.grids[place.region.grid_zone]
        reason = f"{place.region.id} is in {place.region.location}: {grid.name}"
        reason += ", stated by the model's name" if setup.from_name else ""
        place.note("grid_zone", grid.id, "", "catalogue", reason, place.region.origin("grid_zone"))
        return grid, exact
    if setup.country:
        grid = resolve_grid(catalogue, setup.country)
        reason = f"{grid.name}, stated by the model's name" if setup.from_name else grid.name
        place.note("grid_zone", grid.id, "", "given", reason, grid.origin("name"))
        return grid, place.prior("grid.country-spread").value if setup.from_name else exact
    if place.service is not None and (place.service.country or place.service.regions):
        return _assumed_grid(place, place.service)
    grid = catalogue.grids["WORLD"]
    place.note("grid_zone", grid.id, "", "assumed", "no place stated: world average", grid.origin("gco2e_per_kwh"))
    return grid, place.prior("grid.unknown-spread").value


def _assumed_grid(place: _Place, service: Service) -> tuple[Grid, Range]:
    """The zone of a service: its country, or the middle of its likely regions; with the spread over where it may be."""
    catalogue = place.catalogue
    regions = [catalogue.grids[catalogue.regions[name].grid_zone] for name in service.regions]
    found = sorted((grid for grid in regions if grid.gco2e_per_kwh), key=lambda grid: grid.gco2e_per_kwh or 0.0)
    grid = resolve_grid(catalogue, service.country) if service.country else found[(len(found) - 1) // 2]
    centre = grid.gco2e_per_kwh or 1.0
    known = [zone.gco2e_per_kwh or centre for zone in found]
    bounds = Range(1.0, min([*known, centre]) / centre, max([*known, centre]) / centre)
    if bounds.low == bounds.high:
        bounds = place.prior("grid.country-spread").value
    what = f"country of {service.name}" if service.country else f"middle of the likely regions of {service.name}"
    reason = f"no place stated: {what}, with the spread over where it may run"
    place.note("grid_zone", grid.id, "", "assumed", reason, service.origin("country" if service.country else "regions"))
    return grid, bounds


def _intensity(place: _Place, grid: Grid, certain: Range) -> Any:
    """Location-based intensity [g/kWh]: the caller's, the cloud's own figure, or the zone's."""
    setup, region, unit = place.setup, place.region, "gCO2e/kWh"
    spread = place.prior("grid.known-spread").value
    if setup.grid_gco2e_per_kwh is not None:
        value = Range.exact(setup.grid_gco2e_per_kwh)
        place.note("grid_gco2e_per_kwh", value, unit, "given", "stated by the caller")
        return value.value
    if region is not None and region.grid_gco2e_per_kwh is not None and not setup.grid_zone:
        value = spread.scaled(region.grid_gco2e_per_kwh)
        origin = region.origin("grid_gco2e_per_kwh")
        place.note("grid_gco2e_per_kwh", value, unit, "catalogue", f"the cloud's own figure for {region.id}", origin)
        return place.sampler.spread(f"grid intensity:{region.id}", value)
    if grid.gco2e_per_kwh is None:
        raise InvalidInput("grid_zone", f"no intensity is known for {grid.id}", hint="Add --grid-gco2e-per-kwh.")
    upper = spread.high * _lifecycle_ratio(place.catalogue, grid)
    centre = grid.gco2e_per_kwh
    value = Range(centre, centre * spread.low * certain.low, centre * upper * certain.high)
    how: How = "assumed" if certain.low != certain.high else "catalogue"
    reason = f"{grid.name} {grid.year or ''}, {grid.scope}, {grid.boundary}"
    place.note("grid_gco2e_per_kwh", value, unit, how, reason, grid.origin("gco2e_per_kwh"))
    return place.sampler.spread(f"grid intensity:{grid.id}", value)


def _lifecycle_ratio(catalogue: Catalogue, grid: Grid) -> float:
    """Lifecycle over direct intensity of the zone's country: how much a direct factor may leave out."""
    if grid.scope != "direct" or not grid.country:
        return 1.0
    country = catalogue.grids.get(grid.country)
    direct = next(
        (
            g
            for g in catalogue.grids.values()
            if g.country == grid.country and g.scope == "direct" and g.kind in OFFICIAL
        ),
        None,
    )
    if country is None or direct is None or not country.gco2e_per_kwh or not direct.gco2e_per_kwh:
        return 1.0
    return max(country.gco2e_per_kwh / direct.gco2e_per_kwh, 1.0)


def _market(place: _Place, grid: Grid) -> Any:
    """Market-based intensity [g/kWh], NaN where neither contract nor residual mix is known."""
    given = place.setup.grid_market_gco2e_per_kwh
    if given is not None:
        place.note("grid_market_gco2e_per_kwh", Range.exact(given), "gCO2e/kWh", "given", "stated by the caller")
        return given
    country = place.catalogue.grids.get(grid.country or "")
    for zone in (grid, country):
        if zone is not None and zone.market_gco2e_per_kwh is not None:
            value = place.prior("grid.known-spread").value.scaled(zone.market_gco2e_per_kwh)
            origin = zone.origin("market_gco2e_per_kwh")
            place.note("grid_market_gco2e_per_kwh", value, "gCO2e/kWh", "catalogue", "residual mix", origin)
            return place.sampler.spread(f"market intensity:{zone.id}", value)
    return np.nan


def _watered(place: _Place, grid: Grid) -> Grid:
    """The zone whose generation mix gives water: its own, else its country's, else the world's."""
    if grid.water_l_per_kwh is not None:
        return grid
    country = place.catalogue.grids.get(grid.country or "")
    if country is not None and country.water_l_per_kwh is not None:
        return country
    return place.catalogue.grids["WORLD"]


def _grid_water(place: _Place, grid: Grid) -> Any:
    """Water of power generation, reservoirs included [L/kWh at the facility's meter]."""
    given = place.setup.grid_water_l_per_kwh
    if given is not None:
        place.note("grid_water_l_per_kwh", Range.exact(given), "L/kWh", "given", "stated by the caller")
        return given
    zone = _watered(place, grid)
    value = zone.water_l_per_kwh or Range.exact(np.nan)
    if value.low == value.high:
        value = place.prior("grid-water.spread").value.scaled(value.value)
    how: How = "catalogue" if zone.id == grid.id else "assumed"
    reason = f"generation mix of {zone.name}" if zone.id == grid.id else f"none for {grid.id}: mix of {zone.name}"
    place.note("grid_water_l_per_kwh", value, "L/kWh", how, reason, zone.origin("water_l_per_kwh"))
    return place.sampler.spread("grid water:factors", value)


def _water_excluding_hydro(place: _Place, grid: Grid) -> Any:
    """The same without reservoir evaporation, which is contested [L/kWh]."""
    if place.setup.grid_water_l_per_kwh is not None:
        return np.nan
    zone = _watered(place, grid)
    value = zone.water_excluding_hydro_l_per_kwh
    if value is None:
        return np.nan
    spread = place.prior("grid-water.spread").value.scaled(value)
    return place.sampler.spread("grid water:factors", spread)
