"""A node of one's own: forms fitted to what was measured on it, from and towards the general ones.

Its forms have the terms of the general ones. The effects of its engine and its accelerator, which hold on it always,
are folded into the coefficients; those of number formats stay. What no row touches keeps the general value and spread.

The error of a form for a model that was measured on the node is that of the node's own rows: the residuals
ln(measured / predicted) of each configuration under a fit without it. For any other model it is that of models left
out on the node, where five or more were measured, else the general form's: one model says nothing of the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from inferprint.calibration.design import Array, Design, View, design_of
from inferprint.calibration.fit import learned_values
from inferprint.calibration.observations import ENERGIES, Observation, Observations, Quantity, Refusal
from inferprint.calibration.regression import Bound, Fitted, Spec, configuration, fit_own, predict
from inferprint.calibration.scores import TAIL, Score, conformal_bounds, score
from inferprint.calibration.words import counted
from inferprint.catalogue import Catalogue, Form, Node
from inferprint.catalogue.own import QUANTITY_OF, own_form_id
from inferprint.errors import FileProblem
from inferprint.provenance.source import Provenance
from inferprint.quantities import Range
from inferprint.rates.engines import ENGINES
from inferprint.rates.forms import GROUPS
from inferprint.rates.hosting import on_a_desk

MIN_ROWS = 8
"""Fewest measured values that a form is fitted to: a dense model on one device touches up to seven terms."""

MIN_CONFIGURATIONS = 6
"""Fewest different loads among them (lengths, batch, model): with five left, Student's t widens an interval by 1.3,
with two by 2.2, and a time cannot be told apart into prompt, tokens and steps at all."""

MIN_MODELS = 5
"""Models on a node from which their differences say how wrong the next one may be."""

MOST_FITS = 60
"""Fits without some configurations; where there are more of these, several are left out together."""

COUNTS = frozenset(
    {
        *("layers", "expert_layers", "quantised_expert_layers", "sequences", "state_space_layers"),
        *("media_prompts", "layer_exchanges"),
    }
)
"""Terms that are counts, with coefficients in seconds each; the others multiply ideal seconds."""

COUNT_BOUNDS = (1e-9, 1.0)
"""Least and most seconds of a layer, sequence or picture on any machine: a slow processor included."""

FACTOR_BOUNDS = (0.05, 1000.0)
"""Least and most of a real time over the ideal one, on accelerators whose record is only roughly known."""


@dataclass(frozen=True, slots=True)
class OwnForm:
    """A form of a node's own and how good it is on its rows.

    Attributes
    ----------
    general, unseen
        Errors on the rows: of the general form, and of the own form with the row's configuration left out.
    """

    form: Form
    configurations: int
    models: tuple[str, ...]
    general: Score
    unseen: Score


@dataclass(slots=True)
class Own:
    """A node with forms of its own, what could not be used, and what is left to the general forms, with the reason."""

    node: Node
    forms: list[OwnForm] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    general: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Part:
    """What an own form is fitted to: the general form, its view of a request and its rows."""

    name: str
    view: View
    rows: Observations


def learn_own(
    node: Node, observations: Observations, catalogue: Catalogue, print_of_data: str, origin: Provenance
) -> Own:
    """Fit the forms of a node to observations on its accelerator.

    Parameters
    ----------
    node
        The machine; its engine is taken from the rows.
    catalogue
        Holds the general forms, the accelerator and the models.
    print_of_data, origin
        SHA-256 of the files; the source and date of the forms.

    Raises
    ------
    FileProblem
        Too few rows or configurations, rows of several engines, or none of this machine.
    """
    kept, refused = _on_the_node(node, observations.kept)
    if not kept:
        _say_whose(node, observations)
    engine = _engine(kept, node, catalogue)
    own = Own(replace(node, engine=engine), refused=[*observations.refused, *refused])
    rows = Observations([replace(item, setup=replace(item.setup, engine=engine), weight=1.0) for item in kept])
    local = ENGINES[engine].kind == "local"
    time = _Part("duration.single" if local else "duration.served", "seen", Observations(_times(rows)))
    energy = _Part("energy.served", "share", rows)
    designs = {
        time.name: design_of(time.rows, ("single_request_duration", "served_time_per_token"), catalogue),
        energy.name: design_of(energy.rows, ("energy_per_output_token", "prompt_energy"), catalogue),
    }
    own.refused += [refusal for design in designs.values() for refusal in design.refused]
    _need_enough(designs[time.name], own)
    for part in (time, energy):
        design = designs[part.name]
        if part is energy and (reason := _too_few(design)):
            own.general[energy.name] = reason + _why_no_energy(own)
            continue
        own.forms.append(_learn(part, design, node, catalogue, (print_of_data, origin)))
    return own


def _say_whose(node: Node, observations: Observations) -> None:
    """Refuse files of which every row is of another machine, and say of which.

    Raises
    ------
    FileProblem
        They are of other accelerators, of more of them, or of another node.
    """
    gpus = Counter(item.setup.gpu_id for item in observations.kept)
    if gpus and node.gpu not in gpus:
        names = [name for name, _ in gpus.most_common()]
        hint = f"Give --gpu {names[0]}, or measurements on {node.gpu}."
        raise FileProblem(f"the rows are on {', '.join(map(str, names))}, but --gpu is {node.gpu}", hint=hint)
    least = min((item.setup.gpu_count or 1 for item in observations.kept if item.setup.gpu_id == node.gpu), default=0)
    if least > node.gpu_count:
        hint = f"State how many it holds: --gpu-count {least}."
        raise FileProblem(f"the rows are on {least} x {node.gpu}, but {node.id} holds {node.gpu_count}", hint=hint)
    if observations.other_nodes and not observations.kept:
        (name, _), *_ = observations.other_nodes.most_common(1)
        rows = counted(observations.other_nodes.total(), "row")
        hint = f"Make that node, inferprint catalog add-node {name} ..., or change the column node_id."
        raise FileProblem(
            f"no row is of {node.id}: {rows} of the node {', '.join(observations.other_nodes)}", hint=hint
        )


def _why_no_energy(own: Own) -> str:
    """What keeps the energies of the rows from a form; nothing where they state none."""
    refused = [item for item in own.refused if item.quantity in ENERGIES]
    if not refused:
        return ""
    if own.node.host_active_power_w is None and any("boundary system_wall_ac" in item.reason for item in refused):
        return "; energy at the wall needs the power of the host at work (--host-active-power-w)"
    return f"; {counted(len(refused), 'value')} refused, the first in row {refused[0].row_id}: {refused[0].reason}"


def _on_the_node(node: Node, kept: Iterable[Observation]) -> tuple[list[Observation], list[Refusal]]:
    """The observations of text on the node's accelerators; the others are refused."""
    found, refused = [], []
    for item in kept:
        setup = item.setup
        if setup.gpu_id != node.gpu or (setup.gpu_count or 1) > node.gpu_count:
            there = f"{node.gpu_count} x {node.gpu}"
            reason = f"measured on {setup.gpu_count} x {setup.gpu_id}, but {node.id} holds {there}"
            refused.append(Refusal(item.row_id, item.source, item.quantity, reason))
        elif item.quantity not in TEXT_QUANTITIES:
            refused.append(Refusal(item.row_id, item.source, item.quantity, "own forms are of models on tokens"))
        else:
            found.append(item)
    return found, refused


TEXT_QUANTITIES: tuple[Quantity, ...] = (
    "single_request_duration",
    "served_time_per_token",
    "energy_per_output_token",
    "prompt_energy",
)


def _times(rows: Observations) -> list[Observation]:
    """Measured times; of a request alone its duration where the row states it, else its time per token."""
    alone = rows.of("single_request_duration")
    known = {_row(item) for item in alone}
    return [*alone, *(item for item in rows.of("served_time_per_token") if _row(item) not in known)]


def _row(item: Observation) -> tuple[object, ...]:
    """What tells rows apart: two files may use one key."""
    return item.source, item.row_id, item.setup, item.work, item.cached


def _engine(kept: Sequence[Observation], node: Node, catalogue: Catalogue) -> str:
    """The serving software of the rows; what serves one request at a time by its usual way may have served several.

    Raises
    ------
    FileProblem
        Rows of several engines: the coefficients of one are not those of another.
    """
    several = any((item.setup.batch_size or 1.0) > 1 for item in kept)
    stated = Counter(item.setup.engine for item in kept)
    engines = {engine for engine in stated if engine is not None}
    if len(engines) > 1:
        counts = ", ".join(f"{engine} in {stated[engine]}" for engine in sorted(engines))
        raise FileProblem(
            f"the rows are of several engines: {counts}", hint="Make a node for each, from the rows of that engine."
        )
    desk = node.gpu is not None and on_a_desk(catalogue.gpus[node.gpu])
    engine = next(iter(engines), "llama.cpp" if desk and not several else "vllm")
    return "llama.cpp-server" if several and ENGINES[engine].kind == "local" else engine


def _too_few(design: Design) -> str:
    """Why a design cannot be fitted; nothing where it can."""
    rows, different = len(design.points), _loads(design)
    if not rows:
        return "no row measures it"
    if rows < MIN_ROWS:
        return f"{rows} of the {MIN_ROWS} rows that it needs"
    if different < MIN_CONFIGURATIONS:
        return f"{rows} rows of {counted(different, 'different load')}, of the {MIN_CONFIGURATIONS} that it needs"
    return ""


def _loads(design: Design) -> int:
    """How many different loads a design has."""
    return len({configuration(point) for point in design.points})


def _need_enough(design: Design, own: Own) -> None:
    """Refuse to make a node whose times cannot be fitted, and say what is to be measured."""
    reason = _too_few(design)
    if not reason:
        return
    more, others = MIN_ROWS - len(design.points), MIN_CONFIGURATIONS - _loads(design)
    hint = f"Measure {counted(max(more, others), 'row')} more, of the same loads or others."
    if others > 0:
        which = f"{others} or more of another concurrency, prompt or answer length"
        hint = f"Measure {counted(max(more, others), 'row')} more, {which} than the others."
    refused = [item for item in own.refused if item.quantity not in ENERGIES]
    if refused:
        first = f"the first in row {refused[0].row_id}: {refused[0].reason}"
        hint = f"{counted(len(refused), 'value')} refused, {first}. {hint}"
    raise FileProblem(f"too few measured times for {own.node.id}: {reason}", hint=hint)


def _learn(part: _Part, design: Design, node: Node, catalogue: Catalogue, whose: tuple[str, Provenance]) -> OwnForm:
    """Fit one form, then again without each configuration."""
    general = catalogue.forms[part.name]
    prior = _prior(general, design, catalogue)
    spec = _spec(part, prior, design)
    fitted = fit_own(spec, design)
    unseen = _unseen(spec, design, [configuration(p) for p in design.points])
    residual = _residual(spec, design, unseen, general)
    print_of_data, origin = whose
    terms, effects, covariance = _joined(prior, fitted, general)
    form = Form(
        id=own_form_id(part.name, node.id),
        quantity=general.quantity,
        status="own",
        rows=len(design.points),
        fingerprint=print_of_data,
        terms=terms,
        effects=effects,
        covariance=tuple(covariance[np.tril_indices(len(covariance))].tolist()),
        residual=residual,
        provenance={"": origin},
    )
    before = predict(_at_prior(spec), design)
    return OwnForm(
        form,
        _loads(design),
        tuple(sorted(set(design.labels("model").tolist()))),
        score(design.target, before),
        score(design.target, unseen),
    )


@dataclass(frozen=True, slots=True)
class _Prior:
    """The general form on the node: its values with the effects that always hold, and their covariance.

    Attributes
    ----------
    names
        Terms, then effects that depend on the request, each in alphabetical order.
    values
        Logarithms of the terms, and effects.
    """

    names: tuple[str, ...]
    count: int
    values: Array
    covariance: Array


def _prior(general: Form, design: Design, catalogue: Catalogue) -> _Prior:
    """The general form for the node's engine and accelerator, whose effects are folded into the terms."""
    terms, effects = sorted(general.terms), sorted(general.effects)
    means = np.array([np.log(general.terms[t].value) for t in terms] + [general.effects[e] for e in effects])
    size = len(means)
    lower = np.zeros((size, size))
    if general.covariance:
        lower[np.tril_indices(size)] = general.covariance
    matrix = lower + np.tril(lower, -1).T
    tags, lasting = design.points[0].ideal.tags, _lasting(catalogue)
    stay = [e for e in effects if e.partition(":")[2] not in lasting]
    # Rows: what the own form has; columns: what the general one has.
    fold = np.zeros((len(terms) + len(stay), size))
    for row, term in enumerate(terms):
        fold[row, row] = 1.0
        for column, effect in enumerate(effects, start=len(terms)):
            group, _, name = effect.partition(":")
            if name in lasting and (group == "all" or term in GROUPS.get(group, ())):
                fold[row, column] = tags.get(name, 0.0)
    for row, effect in enumerate(stay, start=len(terms)):
        fold[row, len(terms) + effects.index(effect)] = 1.0
    return _Prior((*terms, *stay), len(terms), fold @ means, fold @ matrix @ fold.T)


def _lasting(catalogue: Catalogue) -> set[str]:
    """Names of effects that hold for all that a machine does, or for nothing: of engines and of accelerators."""
    found = {*ENGINES, "peak"}
    for gpu in catalogue.gpus.values():
        found |= {name for name in (gpu.generation, gpu.memory_kind, gpu.device_class) if name}
    return found


def _spec(part: _Part, prior: _Prior, design: Design) -> Spec:
    """The terms and effects that the rows touch, from where the general form has them."""
    values = dict(zip(prior.names, prior.values.tolist(), strict=True))
    terms, effects = prior.names[: prior.count], prior.names[prior.count :]
    touched = design.terms(terms, part.view).max(axis=0) > 0
    tagged = design.tagged(name.partition(":")[2] for name in effects)
    held = np.abs(tagged).max(axis=0, initial=0.0) > 0
    return Spec(
        id=part.name,
        quantity=QUANTITY_OF[part.name],
        view=part.view,
        terms={term: _bound(term, values[term]) for term, is_there in zip(terms, touched, strict=True) if is_there},
        effects=tuple(effect for effect, is_there in zip(effects, held, strict=True) if is_there),
        centres={effect: values[effect] for effect in effects},
    )


def _bound(term: str, log: float) -> Bound:
    """What a machine of any kind may show, from the general value."""
    low, high = COUNT_BOUNDS if term in COUNTS else FACTOR_BOUNDS
    return Bound(low, float(np.clip(np.exp(log), low, high)), high)


def _at_prior(spec: Spec) -> Fitted:
    """The general form as a fit of the own one."""
    values = [np.log(spec.terms[name].start) for name in sorted(spec.terms)]
    values += [spec.centres[name] for name in sorted(spec.effects)]
    return Fitted(spec, np.array(values), np.zeros((len(values), len(values))))


def _joined(prior: _Prior, fitted: Fitted, general: Form) -> tuple[dict[str, Range], dict[str, float], Array]:
    """Terms, effects and covariance of the form: fitted where rows touch, else the general ones."""
    values, covariance = prior.values.copy(), prior.covariance.copy()
    at = [prior.names.index(name) for name in fitted.spec.names]
    values[at] = fitted.values
    covariance[at, :], covariance[:, at] = 0.0, 0.0
    covariance[np.ix_(at, at)] = fitted.covariance
    whole = Fitted(_naming(prior), values, covariance)
    terms, effects = learned_values(whole)
    for name, value in general.terms.items():
        # As it is written there, where no effect was folded in: the covariance holds four digits.
        if name not in fitted.spec.terms and np.isclose(value.value, terms[name].value, rtol=1e-12, atol=0.0):
            terms[name] = value
    return terms, effects, covariance


def _naming(prior: _Prior) -> Spec:
    """A spec that only names the values of a prior, in their order."""
    terms = dict.fromkeys(prior.names[: prior.count], Bound(0.0, 1.0, 1.0))
    return Spec("", "", "seen", terms, prior.names[prior.count :])


def _unseen(spec: Spec, design: Design, groups: Sequence[object]) -> Array:
    """Predictions of every row by a fit without its group, shape (rows,)."""
    order = {group: index % MOST_FITS for index, group in enumerate(dict.fromkeys(groups))}
    labels = np.array([order[group] for group in groups])
    predicted = np.zeros(len(groups))
    for label in np.unique(labels):
        out = labels == label
        predicted[out] = predict(fit_own(spec, design.where(~out)), design.where(out))
    return predicted


def _residual(spec: Spec, design: Design, unseen: Array, general: Form) -> dict[str, Range]:
    """Errors by kind of case: of models that were measured, and of any other."""
    models = design.labels("model")
    residuals = np.log(design.target / unseen)
    loads = [configuration(p) for p in design.points]
    numbers = {load: number for number, load in enumerate(dict.fromkeys(loads))}
    units = np.array([numbers[load] for load in loads])
    found: dict[str, Range] = dict(general.residual)
    if len(set(models.tolist())) >= MIN_MODELS:
        others = np.log(design.target / _unseen(spec, design, models.tolist()))
        found = {"all": bounds_of_few(others, models.tolist())}
    pooled = bounds_of_few(residuals, units.tolist())
    for model in sorted(set(models.tolist())):
        mask = models == model
        enough = len(set(units[mask].tolist())) >= MIN_CONFIGURATIONS
        found[f"model:{model}"] = bounds_of_few(residuals[mask], units[mask].tolist()) if enough else pooled
    return found


ENOUGH = 39
"""Groups from which split conformal prediction can bound a tail of 2.5 %: ceil(40 x 0.975) = 39."""


def bounds_of_few(residuals: Array, groups: Sequence[object]) -> Range:
    """95 % bounds of ln(measured / predicted) of a new row, from residuals of groups left out of the fit.

    Split conformal prediction (Lei et al. 2018, J. Am. Stat. Assoc. 113:1094) on residuals of left-out groups, as in
    the jackknife (Barber et al. 2021, Ann. Stat. 49:486), holds 95 % from `ENOUGH` groups on. With fewer it can only
    give the most extreme residual, so the bounds are no narrower than Student's prediction interval about none,

        t(0.975, m - 1) s sqrt(1 + 1/m),    s^2 = mean squared residual,

    for m groups, within which residuals may be as alike as they like (Hahn and Meeker 1991, Statistical Intervals).
    """
    found = conformal_bounds(residuals, TAIL)
    count = len(set(groups))
    if count >= ENOUGH:
        return found
    from scipy.stats import t

    wide = t.ppf(1 - TAIL, count - 1) * np.sqrt(np.mean(residuals**2) * (1 + 1 / count))
    return Range(0.0, min(found.low, -float(wide)), max(found.high, float(wide)))
