"""What a model makes of a picture, a video or sound that it is given: tokens, and the work of its encoder.

A rule is a function of the size of what is given and of the parameters of a family, so that families share rules.
Positions are what the encoder computes, before patches are merged or resampled into tokens. Where a rule states a
patch, positions follow it. Where nothing is known of the encoder, as of most closed models, `PATCHES_PER_TOKEN`
positions are assumed for each token. Markers and time stamps around what is given are text, and not counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

Parameters = Mapping[str, float]

PATCHES_PER_TOKEN = 4.0
"""Merging of two by two patches, the most common; an assumption where nobody has published the encoder."""

_ROUNDING = 1e-9
"""What floating point may add to a whole number of patches."""


@dataclass(frozen=True)
class Read:
    """What a model computes for something that it is given.

    Attributes
    ----------
    tokens
        Tokens that enter the sequence of the language model.
    positions
        Positions that the encoder computes.
    pairs
        Attention pairs of the encoder in one layer: the sum over its sequences of positions squared. For an encoder
        with windowed attention, the mean over its layers.
    cross_positions
        Positions that the language model only looks at, by cross-attention.
    windows
        Pieces of sound that are worked on one after the other, else 1.
    """

    tokens: float
    positions: float
    pairs: float
    cross_positions: float = 0.0
    windows: float = 1.0


class Grid(NamedTuple):
    """Columns and rows of tiles or patches."""

    cols: int
    rows: int

    @property
    def cells(self) -> int:
        """How many there are."""
        return self.cols * self.rows


def _ceil(x: float) -> int:
    return math.ceil(x - _ROUNDING)


def _cells(width: float, height: float, side: float) -> Grid:
    """Grid of squares that covers an area; never empty."""
    return Grid(max(_ceil(width / side), 1), max(_ceil(height / side), 1))


def _grids(parameters: Parameters) -> tuple[Grid, ...]:
    """Grids of `min_tiles` to `max_tiles` tiles with at most `max_side` on a side, small ones first."""
    most = int(parameters["max_tiles"])
    return _all_grids(int(parameters.get("min_tiles", 1)), most, int(parameters.get("max_side", most)))


@cache
def _all_grids(least: int, most: int, side: int) -> tuple[Grid, ...]:
    every = (Grid(cols, rows) for cols in range(1, side + 1) for rows in range(1, side + 1))
    return tuple(sorted((grid for grid in every if least <= grid.cells <= most), key=lambda grid: (grid.cells, *grid)))


def _tiled(tiles: int, parameters: Parameters) -> Read:
    """Tiles of one size, encoded each by itself, with an overview of the whole picture where there are several.

    Reads `tokens_per_tile`, and where they differ from it or are known: `overview_tokens` (0 for none),
    `positions_per_tile`, `overview_positions`.
    """
    per_tile = parameters["tokens_per_tile"]
    overview = parameters.get("overview_tokens", per_tile) if tiles > 1 else 0.0
    positions = parameters.get("positions_per_tile", PATCHES_PER_TOKEN * per_tile)
    of_overview = parameters.get("overview_positions", positions) if overview else 0.0
    return Read(
        tokens=tiles * per_tile + overview,
        positions=tiles * positions + of_overview,
        pairs=tiles * positions**2 + of_overview**2,
    )


def _patches(cells: int, tokens: float, parameters: Parameters) -> Read:
    """One sequence of `patches_per_token` positions for each cell of a grid.

    In an encoder with windowed attention a share `full_attention_share` of the layers sees the whole picture, and the
    others see `window_positions`.
    """
    positions = cells * parameters.get("patches_per_token", 1.0)
    window = min(parameters.get("window_positions", positions), positions)
    full = parameters.get("full_attention_share", 0.0 if "window_positions" in parameters else 1.0)
    return Read(tokens=tokens, positions=positions, pairs=positions * (full * positions + (1 - full) * window))


def fixed(_width_px: int, _height_px: int, parameters: Parameters) -> Read:
    """A number of tokens whatever the size: `tokens`, of `positions` where they are known."""
    tokens = parameters["tokens"]
    positions = parameters.get("positions", PATCHES_PER_TOKEN * tokens)
    return Read(tokens=tokens, positions=positions, pairs=positions**2)


def area(width_px: int, height_px: int, parameters: Parameters) -> Read:
    """A token for `px_per_token` pixels beside `base_tokens`, up to `max_tokens` and a long edge of `max_edge_px`."""
    scale = min(parameters.get("max_edge_px", math.inf) / max(width_px, height_px), 1.0)
    tokens = parameters.get("base_tokens", 0.0)
    tokens += _ceil(width_px * height_px * scale**2 / parameters["px_per_token"])
    tokens = min(tokens, parameters.get("max_tokens", math.inf))
    positions = PATCHES_PER_TOKEN * tokens
    return Read(tokens=tokens, positions=positions, pairs=positions**2)


def tiles(width_px: int, height_px: int, parameters: Parameters) -> Read:
    """Squares of `tile_px` that cover the picture, beside `base_tokens` for the whole of it.

    The picture is shrunk into `fit_px`, then to a short side of `short_side_px`, and never enlarged. At most
    `max_tiles` are computed. Nothing is known of the encoders of these models: each tile is assumed to be a sequence.
    """
    scale = min(parameters.get("fit_px", math.inf) / max(width_px, height_px), 1.0)
    scale = min(parameters.get("short_side_px", math.inf) / min(width_px, height_px), scale)
    covering = _cells(width_px * scale, height_px * scale, parameters["tile_px"]).cells
    n = min(covering, parameters.get("max_tiles", math.inf))
    per_tile, base = parameters["tokens_per_tile"], parameters.get("base_tokens", 0.0)
    return Read(
        tokens=base + n * per_tile,
        positions=PATCHES_PER_TOKEN * (base + n * per_tile),
        pairs=PATCHES_PER_TOKEN**2 * (base**2 + n * per_tile**2),
    )


def whole_patches(width_px: int, height_px: int, parameters: Parameters) -> Read:
    """Patches of `patch_px`; a picture of more than `max_patches` shrinks until one side is a whole number of them.

    Each patch counts `multiplier` tokens. It is computed once: the multiplier may be one of price.
    """
    patch, most = parameters["patch_px"], parameters["max_patches"]
    grid = _cells(width_px, height_px, patch)
    if grid.cells > most:
        scale = math.sqrt(most * patch**2 / (width_px * height_px))
        cols, rows = width_px * scale / patch, height_px * scale / patch
        # A side of less than one patch cannot become a whole number of them.
        scale = min(max(math.floor(side + _ROUNDING), 1) / side for side in (cols, rows))
        grid = _cells(cols * min(scale, 1.0), rows * min(scale, 1.0), 1.0)
    return _patches(grid.cells, math.floor(grid.cells * parameters.get("multiplier", 1.0) + 0.5), parameters)


def fitted_patches(width_px: int, height_px: int, parameters: Parameters) -> Read:
    """Cells of `patch_px` in the largest size with a long edge of `max_edge_px` and no more than `max_tokens`."""
    patch, most = parameters["patch_px"], parameters["max_tokens"]
    filled = math.sqrt(most * patch**2 / (width_px * height_px))
    scale = min(parameters.get("max_edge_px", math.inf) / max(width_px, height_px), filled, 1.0)
    grid = _cells(width_px * scale, height_px * scale, patch)
    while grid.cells > most:
        # The next smaller size at which a column or a row less is needed.
        scale = max((grid.cols - 1) * patch / width_px, (grid.rows - 1) * patch / height_px)
        grid = _cells(width_px * scale, height_px * scale, patch)
    return _patches(grid.cells, grid.cells, parameters)


def rounded_patches(width_px: int, height_px: int, parameters: Parameters) -> Read:
    """Cells of `patch_px`, to which each side is rounded, in an area of `min_px` to `max_px` pixels."""
    grid = _rounded(width_px, height_px, parameters)
    return _patches(grid.cells, grid.cells, parameters)


def _rounded(width_px: int, height_px: int, parameters: Parameters) -> Grid:
    patch, pixels = parameters["patch_px"], width_px * height_px
    # Halves go to the even number, as in the processors of these models.
    cols, rows = (max(round(side / patch), 1) for side in (width_px, height_px))
    size = cols * rows * patch**2
    if size > parameters["max_px"]:
        scale = math.sqrt(parameters["max_px"] / pixels) / patch
        cols, rows = (max(math.floor(side * scale + _ROUNDING), 1) for side in (width_px, height_px))
    elif size < parameters["min_px"]:
        scale = math.sqrt(parameters["min_px"] / pixels) / patch
        cols, rows = _ceil(width_px * scale), _ceil(height_px * scale)
    return Grid(cols, rows)


def rows_of_patches(width_px: int, height_px: int, parameters: Parameters) -> Read:
    """Cells of `patch_px` under a long edge of `max_edge_px`, and a token at the end of each row."""
    scale = min(parameters["max_edge_px"] / max(width_px, height_px), 1.0)
    grid = _cells(
        math.floor(width_px * scale + _ROUNDING), math.floor(height_px * scale + _ROUNDING), parameters["patch_px"]
    )
    return _patches(grid.cells, grid.cells + grid.rows, parameters)


def budget(width_px: int, height_px: int, parameters: Parameters) -> Read:
    """The picture enlarged or shrunk to fill `max_tokens` cells of `patch_px`, whole columns and rows of them."""
    most = parameters["max_tokens"]
    scale = math.sqrt(most / (width_px * height_px))
    cols, rows = (max(math.floor(side * scale + _ROUNDING), 1) for side in (width_px, height_px))
    # A strip thinner than a cell has its other side cut at the budget.
    cells = min(cols * rows, int(most))
    return _patches(cells, cells, parameters)


def closest_grid(width_px: int, height_px: int, parameters: Parameters) -> Read:
    """The grid of up to `max_tiles` tiles whose shape is nearest to the picture's, and an overview of the whole.

    Of grids alike in shape the larger is taken where the picture has more than half of its pixels. A picture that
    fits into `whole_below_px` is not cut.
    """
    if max(width_px, height_px) <= parameters.get("whole_below_px", 0.0):
        return _whole(parameters)
    return _tiled(_closest(width_px, height_px, parameters).cells, parameters)


def _whole(parameters: Parameters) -> Read:
    """The overview alone."""
    tokens = parameters["overview_tokens"]
    positions = parameters.get("overview_positions", PATCHES_PER_TOKEN * tokens)
    return Read(tokens=tokens, positions=positions, pairs=positions**2)


def _closest(width_px: int, height_px: int, parameters: Parameters) -> Grid:
    shape = width_px / height_px
    grids = _grids(parameters)
    nearest = min(abs(shape - grid.cols / grid.rows) for grid in grids)
    alike = [grid for grid in grids if abs(shape - grid.cols / grid.rows) <= nearest]
    filled = [grid for grid in alike if width_px * height_px > grid.cells * parameters["tile_px"] ** 2 / 2]
    return max(filled, key=lambda grid: grid.cells, default=alike[0])


def canvas(width_px: int, height_px: int, parameters: Parameters) -> Read:
    """The grid of up to `max_tiles` tiles into which the picture fits with the least enlargement, else shrinkage.

    Tiles may share a border of `overlap_px`. The rest is that of `closest_grid`.
    """
    return _tiled(_fitting(width_px, height_px, parameters).cells, parameters)


def _fitting(width_px: int, height_px: int, parameters: Parameters) -> Grid:
    tile, overlap = parameters["tile_px"], parameters.get("overlap_px", 0.0)

    def scale(grid: Grid) -> float:
        width, height = (side * (tile - overlap) + overlap for side in grid)
        return min(width / width_px, height / height_px)

    grids = _grids(parameters)
    enlarging = [grid for grid in grids if scale(grid) >= 1]
    if enlarging:
        return min(enlarging, key=lambda grid: (scale(grid), grid.cells))
    return max(grids, key=lambda grid: (scale(grid), -grid.cells))


def crossed_canvas(width_px: int, height_px: int, parameters: Parameters) -> Read:
    """Tiles of a `canvas` that the language model looks at by cross-attention: a single token enters its sequence.

    The encoder attends to all tiles of a picture together.
    """
    positions = _fitting(width_px, height_px, parameters).cells * parameters["positions_per_tile"]
    return Read(tokens=1.0, positions=positions, pairs=positions**2, cross_positions=positions)


def padded_canvas(width_px: int, height_px: int, parameters: Parameters) -> Read:
    """Tiles of the canvas on which most of the picture is left and least is empty, beside `base_tokens` for the whole.

    A tile has `tile_side` by `tile_side` tokens, and each row of them `row_tokens` more. Where `unpadded` is 1, the
    empty part of the canvas has none. More than `max_kept_tiles` tiles are shrunk to as many after the encoder.
    """
    tile, side = parameters["tile_px"], int(parameters["tile_side"])

    def left_and_empty(grid: Grid) -> tuple[int, float]:
        scale = min(grid.cols * tile / width_px, grid.rows * tile / height_px)
        kept = min(int(width_px * scale) * int(height_px * scale), width_px * height_px)
        return kept, kept - grid.cells * tile**2

    grid = max(_grids(parameters), key=left_and_empty)
    cols, rows = grid.cols * side, grid.rows * side
    if parameters.get("unpadded"):
        cols, rows = _unpadded(width_px, height_px, Grid(cols, rows))
    cells = min(cols * rows, parameters.get("max_kept_tiles", math.inf) * side**2)
    positions = parameters["positions_per_tile"]
    return Read(
        tokens=parameters["base_tokens"] + cells + rows * parameters.get("row_tokens", 0.0),
        positions=(grid.cells + 1) * positions,
        pairs=(grid.cells + 1) * positions**2,
    )


def _unpadded(width_px: int, height_px: int, grid: Grid) -> Grid:
    """The part of a grid on which a picture in its middle lies."""
    if width_px / height_px > grid.cols / grid.rows:
        empty = (grid.rows - int(height_px * grid.cols / width_px + _ROUNDING)) // 2
        return Grid(grid.cols, grid.rows - 2 * empty)
    empty = (grid.cols - int(width_px * grid.rows / height_px + _ROUNDING)) // 2
    return Grid(grid.cols - 2 * empty, grid.rows)


def scaled_tiles(width_px: int, height_px: int, parameters: Parameters) -> Read:
    """Tiles of `tile_px` that cover the picture when its long edge is made `long_edge_px`, small ones enlarged too."""
    scale = parameters["long_edge_px"] / max(width_px, height_px)
    return _tiled(_cells(width_px * scale, height_px * scale, parameters["tile_px"]).cells, parameters)


def slices(width_px: int, height_px: int, parameters: Parameters) -> Read:
    """About as many slices as the picture has areas of `tile_px` squared, up to `max_tiles`, in the best shape.

    One slice more or less is allowed where its grid is nearer to the picture's shape.
    """
    n = min(_ceil(width_px * height_px / parameters["tile_px"] ** 2), int(parameters["max_tiles"]))
    if n <= 1:
        return _tiled(1, parameters)
    grids = [grid for grid in _grids(parameters) if n - 1 <= grid.cells <= n + 1 and grid.cells > 1]
    shape = math.log(width_px / height_px)
    return _tiled(min(grids, key=lambda grid: abs(shape - math.log(grid.cols / grid.rows))).cells, parameters)


def crops_with_rows(width_px: int, height_px: int, parameters: Parameters) -> Read:
    """The picture enlarged to as many crops as `max_tiles` allows in its shape, and an overview.

    A crop has `crop_tokens`; `row_tokens` end the rows of each row of crops and of the overview; one token parts them.
    """
    long, short = max(width_px, height_px), min(width_px, height_px)
    most = int(parameters["max_tiles"])

    def across(along: int) -> int:
        return _ceil(along * short / long)

    along = max((n for n in range(1, most + 1) if n * across(n) <= most), default=1)
    rows = across(along) if width_px >= height_px else along
    crops = along * across(along)
    positions = parameters["positions_per_tile"]
    return Read(
        tokens=(crops + 1) * parameters["crop_tokens"] + 1 + (rows + 1) * parameters["row_tokens"],
        positions=(crops + 1) * positions,
        pairs=(crops + 1) * positions**2,
    )


def unpadded_crops(width_px: int, height_px: int, parameters: Parameters) -> Read:
    """Crops of `tile_px` that cover the picture, in the closest grid where that were more than `max_tiles`.

    Each has `tile_side` by `tile_side` tokens, less what lies outside the picture, and a token ends each row. The
    whole has `base_tokens`.
    """
    tile, side = parameters["tile_px"], int(parameters["tile_side"])
    grid = _cells(width_px, height_px, tile)
    if grid.cells > parameters["max_tiles"]:
        grid = _closest(width_px, height_px, parameters)
    scale = min(grid.cols * tile / width_px, grid.rows * tile / height_px)
    kept = _cells(width_px * scale, height_px * scale, tile / side)
    positions = parameters["positions_per_tile"]
    return Read(
        tokens=parameters["base_tokens"] + kept.cells + kept.rows,
        positions=(grid.cells + 1) * positions,
        pairs=(grid.cells + 1) * positions**2,
    )


def _frames(seconds: float, parameters: Parameters) -> int:
    """Frames taken at `frames_per_s`, at least `min_frames` and at most `max_frames`."""
    taken = max(_ceil(seconds * parameters["frames_per_s"]), int(parameters.get("min_frames", 1)))
    return int(min(taken, parameters.get("max_frames", math.inf)))


def fixed_frames(_width_px: int, _height_px: int, seconds: float, parameters: Parameters) -> Read:
    """Frames of `tokens_per_frame` tokens and `positions_per_frame` positions whatever their size."""
    n, tokens = _frames(seconds, parameters), parameters["tokens_per_frame"]
    positions = parameters.get("positions_per_frame", PATCHES_PER_TOKEN * tokens)
    return Read(tokens=n * tokens, positions=n * positions, pairs=n * positions**2)


def frame_pairs(width_px: int, height_px: int, seconds: float, parameters: Parameters) -> Read:
    """Two frames at a time read as one picture of `rounded_patches`; the encoder attends within each."""
    n = _ceil(_frames(seconds, parameters) / 2)
    each = rounded_patches(width_px, height_px, parameters)
    return Read(tokens=n * each.tokens, positions=n * each.positions, pairs=n * each.pairs)


def steady(seconds: float, parameters: Parameters) -> Read:
    """Sound at `tokens_per_s` of `positions_per_s`, each of which attends to `window_positions` at most.

    `cross_attention` is the share of the positions at which the text only looks.
    """
    rate = parameters["tokens_per_s"]
    positions = _ceil(seconds * parameters.get("positions_per_s", PATCHES_PER_TOKEN * rate))
    return Read(
        tokens=_ceil(seconds * rate),
        positions=positions,
        pairs=positions * min(positions, parameters.get("window_positions", math.inf)),
        cross_positions=positions * parameters.get("cross_attention", 0.0),
    )


def whole_windows(seconds: float, parameters: Parameters) -> Read:
    """Windows of `window_s`, of which the last is padded, each of `positions_per_window` and `tokens_per_window`.

    `cross_attention` is the share of the positions at which the text only looks.
    """
    n = max(_ceil(seconds / parameters["window_s"]), 1)
    positions = parameters["positions_per_window"]
    return Read(
        tokens=n * parameters.get("tokens_per_window", 0.0),
        positions=n * positions,
        pairs=n * positions**2,
        cross_positions=n * positions * parameters.get("cross_attention", 0.0),
        windows=n,
    )


IMAGE_RULES: Mapping[str, Callable[[int, int, Parameters], Read]] = {
    rule.__name__: rule
    for rule in (
        fixed,
        area,
        tiles,
        whole_patches,
        fitted_patches,
        rounded_patches,
        rows_of_patches,
        budget,
        closest_grid,
        canvas,
        crossed_canvas,
        padded_canvas,
        scaled_tiles,
        slices,
        crops_with_rows,
        unpadded_crops,
    )
}
"""Rules for a picture of so many pixels, by name: width and height [px], parameters."""

VIDEO_RULES: Mapping[str, Callable[[int, int, float, Parameters], Read]] = {
    rule.__name__: rule for rule in (fixed_frames, frame_pairs)
}
"""Rules for a video without its sound, by name: width and height [px], duration [s], parameters."""

AUDIO_RULES: Mapping[str, Callable[[float, Parameters], Read]] = {
    rule.__name__: rule for rule in (steady, whole_windows)
}
"""Rules for sound, by name: duration [s], parameters."""
