"""The check of whole columns against the check of one request."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from inferprint.batch.rows import DEFAULTS, check
from inferprint.errors import InvalidInput
from inferprint.estimate import Request
from inferprint.estimate.request import suspects, validated
from inferprint.usage.tables import NUMERIC_FIELDS, Chunk

NUMBERS = st.one_of(
    st.integers(-3, 40), st.sampled_from([0.5, 1e8, 1e8 + 1, 3e8, float("inf"), float("nan"), -1.0, 6.1e8, 6.04e8])
).map(float)
TIMES = st.one_of(st.just(None), NUMBERS)


def refused(row):
    try:
        validated(Request(model_id="-", **row))
    except InvalidInput as error:
        return error.field
    return None


@settings(max_examples=400, deadline=None)
@given(
    st.fixed_dictionaries({n: TIMES if DEFAULTS[n] is None and n.endswith("_ms") else NUMBERS for n in NUMERIC_FIELDS})
)
def test_every_refused_request_is_suspect(row):
    columns = {n: np.array([np.nan if v is None else v]) for n, v in row.items()}
    # A measured NaN is unreadable, which columns hold as -1.
    for name, value in row.items():
        if value is not None and np.isnan(value):
            columns[name] = np.array([-1.0])
    assert suspects(columns)[0] or refused(row) is None


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries({n: TIMES if n.endswith("_ms") else NUMBERS for n in NUMERIC_FIELDS}),
        min_size=1,
        max_size=6,
    )
)
def test_columns_refuse_what_single_requests_refuse(rows):
    columns = {n: [None if r[n] is None else repr(r[n]) for r in rows] for n in NUMERIC_FIELDS}
    checked = check(Chunk(list(range(len(rows))), columns, [""] * len(rows), []), {})
    for i, row in enumerate(rows):
        found = [reject.field for reject in checked.rejects if reject.index == i]
        if checked.skipped[i]:
            assert not row["input_tokens"]
            assert not row["output_tokens"]
        else:
            field = refused(row)
            assert found == ([] if field is None else [field])
            assert checked.good[i] == (field is None)
