"""Who may keep which records, which names are free, and what is refused because nothing could be estimated with it."""

from __future__ import annotations

import threading

import pytest
from scope3ai.api.typesgen import Error
from sqlalchemy import select
from tests.postgres_here import postgres
from tests.service.databases import DIALECTS, url_for
from tests.service.records_here import GPU, MODEL, NODE, Asker, Here, records_here

from inferprint.service import record_store
from inferprint.service.caller import GLOBAL_OWNER
from inferprint.service.tables import RECORDS, REVISIONS

BODY = {"model": MODEL, "node": NODE, "gpu": GPU}
ID = {"model": "acme/llm", "node": "my-node", "gpu": "chip-one"}
ALL = {"global": "true"}


@pytest.fixture
def here(tmp_path) -> Here:
    return records_here(tmp_path)


@pytest.fixture
def acme(here) -> Asker:
    return here.asker("acme")


@pytest.fixture
def admin(here) -> Asker:
    return here.asker("operator", "admin")


def refusal(response, status: int) -> Error:
    assert response.status_code == status, response.text
    error = Error.model_validate_json(response.content)
    assert error.details is None or error.details.reason
    return error


def revision(here: Here, owner_id: int) -> int:
    with here.database.begin(write=False) as connection:
        return (
            connection.execute(select(REVISIONS.c.number).where(REVISIONS.c.owner_id == owner_id)).scalar_one_or_none()
            or 0
        )


def kept(here: Here) -> list[tuple[int, str, str]]:
    with here.database.begin(write=False) as connection:
        return [tuple(row) for row in connection.execute(select(RECORDS.c.owner_id, RECORDS.c.kind, RECORDS.c.id))]


# --- who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BODY)
def test_reading_needs_a_key_and_writing_the_scope(here, acme, kind):
    acme.made(kind)
    path = f"/{kind}/{ID[kind]}"
    reader, nobody = here.asker("acme", "read"), Asker(here.client, "ipk_nothing")
    assert reader("GET", path).status_code == 200
    for method, where, body in (("POST", f"/{kind}", BODY[kind]), ("PUT", path, {}), ("DELETE", path, None)):
        refusal(reader(method, where, body), 403)
        refusal(nobody(method, where, body), 401)
    refusal(nobody("GET", f"/{kind}"), 401)
    if kind == "model":
        refusal(reader("PUT", f"{path}/alias", {"alias": "x"}), 403)
        refusal(reader("DELETE", f"{path}/alias/x"), 403)


@pytest.mark.parametrize("kind", BODY)
def test_records_of_all_are_kept_by_administrators(here, acme, admin, kind):
    refusal(acme("POST", f"/{kind}", BODY[kind], **ALL), 403)
    created = admin("POST", f"/{kind}", BODY[kind], **ALL)
    assert created.status_code == 201
    assert created.json()["customer_id"] == GLOBAL_OWNER
    path = f"/{kind}/{ID[kind]}"
    seen = acme("GET", path).json()
    assert seen == created.json() | {"created_by": "administrator"}
    assert admin("GET", path).json()["created_by"] == here.keys.check(admin.token).key_id
    change = {"model": {"name": "N"}, "node": {"gpu_count": 2}, "gpu": {"name": "N"}}[kind]
    for params in ({}, ALL):
        refusal(acme("PUT", path, change, **params), 403)
        refusal(acme("DELETE", path, **params), 403)
    assert admin("PUT", path, change).status_code == 200
    assert admin("DELETE", path, **ALL).status_code == 204
    assert kept(here) == []


@pytest.mark.parametrize("path", ["/model/llama-3.1-8b", "/node/aws-p5-48xlarge", "/gpu/h100_80gb_sxm"])
def test_packaged_records_are_nobody_s_to_change(here, acme, admin, path):
    for asker in (acme, admin):
        for method, body in (("PUT", {}), ("DELETE", None)):
            error = refusal(asker(method, path, body), 403)
            assert "of your own" in error.details.reason
    if path.startswith("/model"):
        refusal(admin("PUT", f"{path}/alias", {"alias": "x"}, **ALL), 403)
    assert kept(here) == []


@pytest.mark.parametrize("field", ["cloud_instance_id", "managed_service_id"])
def test_some_fields_of_nodes_are_for_administrators(acme, admin, field):
    value = {"cloud_instance_id": "x9.large", "managed_service_id": "together"}[field]
    body = {**NODE, "cloud_id": "aws", field: value}
    assert refusal(acme("POST", "/node", body), 403).details.field == field
    acme.made("node")
    assert refusal(acme("PUT", "/node/my-node", {field: value}), 403).details.field == field
    assert admin("POST", "/node", body).json()[field] == value


def test_an_instance_of_an_administrator_is_found_by_cloud_and_instance(here, admin):
    admin.made("node", cloud_id="aws", cloud_instance_id="x9.large", managed_service_id="together")
    own = here.catalogues.estimator(here.owner_id(admin)).catalogue
    assert own.names("nodes")["aws:x9.large"] == "my-node"
    assert [node["id"] for node in admin("GET", "/node", service="together").json()["nodes"]] == ["my-node"]
    error = refusal(
        admin("POST", "/node", {**NODE, "id": "second", "cloud_id": "aws", "cloud_instance_id": "X9.large"}), 409
    )
    assert "my-node" in error.message
    error = refusal(
        admin("POST", "/node", {**NODE, "id": "third", "cloud_id": "aws", "cloud_instance_id": "p5.48xlarge"}), 409
    )
    assert "aws:p5.48xlarge" in error.message
    refusal(admin("PUT", "/node/my-node", {"managed_service_id": "no such service"}), 400)
    refusal(admin("POST", "/node", {**NODE, "id": "fourth", "cloud_instance_id": "x9"}), 400)


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, change, named",
    [
        ("model", {"id": "llama-3.1-8b"}, "llama-3.1-8b"),
        ("model", {"id": "LLAMA 3.1 8B"}, "llama-3.1-8b"),
        ("model", {"aliases": ["fine", "meta-llama/Llama-3.1-8B"]}, "llama-3.1-8b"),
        ("node", {"id": "aws-p5-48xlarge"}, "aws:p5.48xlarge"),
        ("gpu", {"id": "H200"}, "h200_141gb_sxm"),
    ],
)
def test_names_that_all_see_are_not_free(here, acme, kind, change, named):
    error = refusal(acme("POST", f"/{kind}", {**BODY[kind], **change}), 409)
    assert named in error.message
    assert kept(here) == []


@pytest.mark.parametrize("kind", BODY)
def test_an_id_is_there_once(acme, kind):
    acme.made(kind)
    assert ID[kind] in refusal(acme("POST", f"/{kind}", BODY[kind]), 409).message


@pytest.mark.parametrize(
    "body",
    [
        {"id": "second", "aliases": ["ACME/LLM"]},
        {"id": "ours"},
        {"id": "second", "aliases": ["new", "Ours"]},
    ],
)
def test_aliases_and_ids_are_of_one_kind(acme, body):
    acme.made("model", aliases=["ours"])
    assert "acme/llm" in refusal(acme("POST", "/model", {**MODEL, **body}), 409).message


def test_a_display_name_may_be_another_one_s(here, acme):
    acme.made("gpu", name="NVIDIA H200")
    acme.made("gpu", id="chip-two", name="Chip Two")
    acme.made("gpu", id="chip-three", name="Chip Two")
    own = here.catalogues.estimator(here.owner_id(acme)).catalogue
    assert own.names("gpus")["nvidia-h200"] == "h200_141gb_sxm"
    assert acme("GET", "/gpu/chip-three").json()["name"] == "Chip Two"


def test_aliases_come_and_go(here, acme):
    acme.made("model")
    path = "/model/acme/llm"
    assert acme("PUT", f"{path}/alias", {"alias": "ours"}).status_code == 204
    assert acme("PUT", f"{path}/alias", {"alias": "ours"}).status_code == 204
    assert acme("GET", "/model/ours").json()["aliases"] == ["ours"]
    assert "llama-3.1-8b" in refusal(acme("PUT", f"{path}/alias", {"alias": "llama-3.1-8b"}), 409).message
    for body in ({}, {"alias": ""}, {"alias": 5}, {"name": "x"}, []):
        refusal(acme("PUT", f"{path}/alias", body), 400)
    assert acme("DELETE", f"{path}/alias/OURS").status_code == 204
    assert "ours" in refusal(acme("DELETE", f"{path}/alias/ours"), 404).message
    assert acme("GET", path).json()["aliases"] == []
    refusal(acme("PUT", "/model/unknown/alias", {"alias": "x"}), 404)


def test_a_model_has_a_hundred_aliases_at_most(acme):
    refusal(acme("POST", "/model", {**MODEL, "aliases": [f"alias-{i}" for i in range(101)]}), 400)
    refusal(acme("POST", "/model", {**MODEL, "aliases": ["a", "A"]}), 400)
    acme.made("model", aliases=[f"alias-{i}" for i in range(100)])
    refusal(acme("PUT", "/model/acme/llm/alias", {"alias": "one more"}), 400)
    assert acme("PUT", "/model/acme/llm/alias", {"alias": "alias-7"}).status_code == 204


def test_changes_ask_for_the_id(acme):
    acme.made("model", aliases=["ours"])
    assert "acme/llm" in refusal(acme("PUT", "/model/ours", {}), 404).message
    assert "acme/llm" in refusal(acme("DELETE", "/model/ours"), 404).message


# --- what rests on what -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, change, field, near",
    [
        ("node", {"gpu_id": "h100_80gb_smx"}, "gpu_id", "h100_80gb_sxm"),
        ("model", {"benchmark_model_id": "llama-3.1-9b"}, "benchmark_model_id", "llama-3.1-8b"),
        ("model", {"fine_tuned_from_model_id": "llama-3.1-9b"}, "fine_tuned_from_model_id", "llama-3.1-8b"),
    ],
)
def test_unknown_ground_is_refused_with_the_nearest(here, acme, kind, change, field, near):
    error = refusal(acme("POST", f"/{kind}", {**BODY[kind], **change}), 400)
    assert error.details.field == field
    assert near in error.details.reason
    acme.made(kind)
    before = revision(here, here.owner_id(acme))
    refusal(acme("PUT", f"/{kind}/{ID[kind]}", change), 400)
    assert revision(here, here.owner_id(acme)) == before


def test_a_model_needs_a_size_or_another_model(acme):
    error = refusal(acme("POST", "/model", {"id": "nothing"}), 400)
    assert "benchmark_model_id" in error.details.reason
    assert acme("POST", "/model", {"id": "by-experts", "number_of_experts": 4, "params_per_expert_billions": 2,
                                   "experts_per_token": 1}).status_code == 201  # fmt: skip
    acme.made("model")
    refusal(acme("PUT", "/model/acme/llm", {"total_params_billions": None}), 400)


@pytest.mark.parametrize(
    "change",
    [
        {"number_of_experts": 8},
        {"number_of_experts": 8, "params_per_expert_billions": 1.5},
        {"number_of_experts": 8, "params_per_expert_billions": 7, "experts_per_token": 2},
        {"number_of_experts": 8, "experts_per_token": 9, "active_params_billions": 2},
        {"active_params_billions": 20},
        {"total_params_billions": 0},
        {"total_params_billions": -1},
        {"total_params_billions": "8"},
        {"estimated_requests_per_day": 0},
        {"estimated_use_life_days": 0},
        {"estimated_use_life_days": 1e-150, "estimated_requests_per_day": 1e-160},
        {"estimated_use_life_days": 0.9},
        {"estimated_use_life_days": 36_501},
        {"estimated_requests_per_day": 9e-4},
        {"estimated_requests_per_day": 1.1e12},
        {"training_usage_energy_kwh": 1.1e12},
        {"total_params_billions": 1e-9},
        {"training_usage_energy_kwh": -1},
        {"unknown_field": 1},
        {"aliases": "x"},
        {"name": ""},
        {"name": "a\x00b"},
    ],
)
def test_models_that_cannot_be(here, acme, change):
    refusal(acme("POST", "/model", {**MODEL, **change}), 400)
    assert kept(here) == []


@pytest.mark.parametrize(
    "kind, change",
    [
        ("node", {"id": "a"}),
        ("node", {"id": "UPPER"}),
        ("node", {"id": "a:b"}),
        ("node", {"gpu_count": -1}),
        ("node", {"gpu_count": 1.5}),
        ("node", {"cpu_count": 0}),
        ("node", {"average_utilization_rate": 0}),
        ("node", {"average_utilization_rate": 1.1}),
        ("node", {"use_life_years": 0.5}),
        ("node", {"idle_power_w_ex_gpu": 10_001}),
        ("gpu", {"max_power_w": 0}),
        ("gpu", {"performance_ratio_to_h200": 0}),
        ("gpu", {"embodied_water_mlh2o": -1}),
        ("gpu", {"memory_gb": 0}),
        ("gpu", {"performance_ratio_to_h200": 9e-5}),
        ("gpu", {"performance_ratio_to_h200": 1.1e4}),
        ("gpu", {"max_power_w": 1e-3}),
        ("gpu", {"embodied_water_mlh2o": 1.1e10}),
        ("gpu", {"embodied_emissions_kgco2e": 1.1e7}),
        ("gpu", {"memory_gb": 1e-4}),
        ("node", {"average_utilization_rate": 1e-9}),
        ("gpu", {"ols_intercept": None}),
    ],
)
def test_hardware_that_cannot_be(here, acme, kind, change):
    refusal(acme("POST", f"/{kind}", {**BODY[kind], **change}), 400)
    assert kept(here) == []


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none(here, acme, number):
    body = f'{{"id": "x", "total_params_billions": {number}}}'
    headers = {"Authorization": f"Bearer {acme.token}", "Content-Type": "application/json"}
    response = here.client.post("/model", content=body, headers=headers)
    refusal(response, 400)


def test_what_is_in_use_stays(acme):
    acme.made("gpu")
    acme.made("node", gpu_id="CHIP-ONE")
    acme.made("model", aliases=["ours"])
    acme.made("model", id="second", total_params_billions=None, benchmark_model_id="ours")
    assert "my-node" in refusal(acme("DELETE", "/gpu/chip-one"), 409).message
    assert "second" in refusal(acme("DELETE", "/model/acme/llm"), 409).message
    assert "second" in refusal(acme("DELETE", "/model/acme/llm/alias/ours"), 409).message
    for path in ("/node/my-node", "/gpu/chip-one", "/model/second", "/model/acme/llm"):
        assert acme("DELETE", path).status_code == 204


def test_what_all_rest_on_stays_and_tells_no_names(here, acme, admin):
    admin("POST", "/gpu", GPU, **ALL)
    acme.made("node", id="secret-project", gpu_id="chip-one")
    error = refusal(admin("DELETE", "/gpu/chip-one", **ALL), 409)
    assert "1 record" in error.message
    assert "secret" not in error.message
    assert acme("DELETE", "/node/secret-project").status_code == 204
    assert admin("DELETE", "/gpu/chip-one", **ALL).status_code == 204


def test_no_model_rests_on_itself(acme):
    error = refusal(acme("POST", "/model", {"id": "self", "benchmark_model_id": "self"}), 400)
    assert error.details.field == "benchmark_model_id"
    acme.made("model", id="one")
    acme.made("model", id="two", total_params_billions=None, fine_tuned_from_model_id="one")
    refusal(acme("PUT", "/model/one", {"benchmark_model_id": "two"}), 400)


def test_a_change_that_would_break_another_record_is_refused(acme):
    acme.made("model", id="sparse", total_params_billions=40, number_of_experts=8, active_params_billions=10)
    acme.made("model", id="two", total_params_billions=80, number_of_experts=8, benchmark_model_id="sparse")
    # Of the first it would not be known any more how much of it a token uses, and so of the second.
    change = {"number_of_experts": None, "active_params_billions": None}
    assert "two" in refusal(acme("PUT", "/model/sparse", change), 409).message


def test_changes_are_counted_and_refusals_are_not(here, acme):
    owner = here.owner_id(acme)
    assert revision(here, owner) == 0
    acme.made("model")
    assert revision(here, owner) == 1
    refusal(acme("POST", "/model", MODEL), 409)
    refusal(acme("PUT", "/model/acme/llm", {"total_params_billions": 0}), 400)
    assert revision(here, owner) == 1
    acme("PUT", "/model/acme/llm", {"name": "x"})
    acme("DELETE", "/model/acme/llm")
    assert revision(here, owner) == 3


def test_there_is_a_limit(acme, monkeypatch):
    monkeypatch.setattr("inferprint.service.record_store.MAX_RECORDS", 2)
    for number in range(2):
        acme.made("model", id=f"model-{number}")
    refusal(acme("POST", "/model", MODEL), 409)
    acme.made("gpu")


def test_of_many_who_want_an_id_one_gets_it(here, acme):
    answers = []
    body = {**MODEL, "aliases": ["ours"]}
    threads = [
        threading.Thread(target=lambda n=number: answers.append(acme("POST", "/model", {**body, "id": f"model-{n}"})))
        for number in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 5]
    assert len(kept(here)) == 1
    assert revision(here, here.owner_id(acme)) == 1


@pytest.mark.parametrize(
    "kind, change",
    [
        ("gpu", {"performance_ratio_to_h200": 1e-4, "max_power_w": 0.01, "memory_gb": 0.001}),
        ("gpu", {"performance_ratio_to_h200": 1e4, "embodied_emissions_kgco2e": 0, "embodied_water_mlh2o": 0}),
        ("model", {"estimated_use_life_days": 1, "estimated_requests_per_day": 1e-3}),
        ("model", {"estimated_use_life_days": 36_500, "estimated_requests_per_day": 1e12}),
    ],
)
def test_bounds_are_allowed(acme, kind, change):
    acme.made(kind, **change)


@pytest.mark.parametrize(
    "kind, field", [("node", "gpu_count"), ("node", "cpu_count"), ("node", "gpu_id"), ("gpu", "max_power_w")]
)
def test_null_does_not_take_away_what_every_record_has(acme, kind, field):
    acme.made(kind)
    error = refusal(acme("PUT", f"/{kind}/{ID[kind]}", {field: None}), 400)
    assert error.details.field == field
    assert "null" in error.message
    assert "leave the field out" in error.details.reason
    assert acme("GET", f"/{kind}/{ID[kind]}").json()[field] == BODY[kind][field]


# --- while others write -----------------------------------------------------------------------------------------------


@pytest.fixture
def during_check(monkeypatch):
    """Do something after a change was checked, and before it is written."""

    def put(do):
        check = record_store._check_made

        def checked(*args, **kwargs):
            check(*args, **kwargs)
            do()

        monkeypatch.setattr(record_store, "_check_made", checked)

    return put


def test_a_change_that_is_checked_holds_up_nobody_who_writes(here, acme, during_check):
    acme.made("model")

    def write():
        with here.database.begin() as connection:
            connection.execute(REVISIONS.insert().values(owner_id=GLOBAL_OWNER, number=0).prefix_with("OR IGNORE"))

    during_check(write)
    assert acme("POST", "/model", {**MODEL, "id": "second"}).status_code == 201
    assert acme("PUT", "/model/acme/llm", {"name": "x"}).status_code == 200


def test_a_change_is_checked_against_what_another_server_wrote_meanwhile(tmp_path, here, acme, during_check):
    elsewhere = Asker(records_here(tmp_path).client, acme.token)
    checked = []

    def create():
        checked.append(1)
        if len(checked) == 1:
            elsewhere.made("model", id="second", aliases=["ours"])

    during_check(create)
    assert "second" in refusal(acme("POST", "/model", {**MODEL, "aliases": ["ours"]}), 409).message
    assert [key for *_, key in kept(here)] == ["second"]
    assert acme("POST", "/model", MODEL).status_code == 201
    assert revision(here, here.owner_id(acme)) == 2


def test_a_record_of_all_that_is_named_meanwhile_stays(tmp_path, here, acme, admin, monkeypatch):
    admin("POST", "/gpu", GPU, **ALL)
    elsewhere, check, checked = Asker(records_here(tmp_path).client, acme.token), record_store._check_unused, []

    def unused(*args):
        check(*args)
        checked.append(1)
        if len(checked) == 1:
            elsewhere.made("node", gpu_id="chip-one")

    monkeypatch.setattr(record_store, "_check_unused", unused)
    refusal(admin("DELETE", "/gpu/chip-one", **ALL), 409)
    assert len(checked) == 1
    assert acme("GET", "/gpu/chip-one").status_code == 200


def test_who_is_always_too_late_is_told_to_come_again(here, acme, during_check, monkeypatch):
    owner = here.owner_id(acme)

    def count():
        with here.database.begin() as connection:
            record_store._revisions(connection, owner, lock=True)
            record_store._bump(connection, owner)

    during_check(count)
    refusal(acme("POST", "/model", MODEL), 503)
    assert revision(here, owner) == record_store.MOST_TRIES
    assert kept(here) == []
    monkeypatch.setattr(record_store, "PATIENCE_S", 0.01)
    with here.catalogues.changing:
        refusal(acme("POST", "/model", MODEL), 503)


@pytest.fixture(scope="module")
def server():
    with postgres() as started:
        yield started


@pytest.mark.parametrize("dialect", DIALECTS)
def test_servers_that_change_records_at_once_agree(tmp_path, server, dialect):
    url = url_for(dialect, tmp_path, server)
    servers = [records_here(tmp_path, url=url) for _ in range(3)]
    token = servers[0].asker("acme").token
    askers = [Asker(one.client, token) for one in servers]
    for asker in askers:
        assert asker("GET", "/model").status_code == 200  # FastAPI makes the routes of an app with its first request
    start, answers = threading.Barrier(len(askers)), []

    def create(asker, number):
        start.wait()
        answers.append(asker("POST", "/model", {**MODEL, "id": f"model-{number}", "aliases": ["ours"]}))

    threads = [threading.Thread(target=create, args=(asker, number)) for number, asker in enumerate(askers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    (left,) = [key for *_, key in kept(servers[0])]
    for asker in askers:
        assert asker("PUT", f"/model/{left}", {"name": "x"}).status_code == 200
        assert asker("PUT", f"/model/{left}/alias", {"alias": f"by-{askers.index(asker)}"}).status_code == 204
    assert askers[1]("DELETE", f"/model/{left}").status_code == 204
    assert revision(servers[2], servers[2].owner_id(askers[0])) == 8
    for one in servers:
        one.database.close()
