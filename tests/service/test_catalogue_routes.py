"""`/model`, `/node` and `/gpu` as the types and the client of scope3ai 0.3.0 see them."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from scope3ai.api import typesgen
from scope3ai.api.client import Client
from scope3ai.api.typesgen import (
    Family,
    GPUCreateRequest,
    GPUUpdateRequest,
    ModelCreateRequest,
    ModelUpdateRequest,
    NodeCreateRequest,
    NodeUpdateRequest,
)
from tests.service.records_here import GPU, MODEL, NODE, Asker, Here, records_here

from inferprint import Catalogue
from inferprint.service import record_schemas

PACKAGED = Catalogue.packaged()
LISTS = {
    "model": (typesgen.ModelResponse, "models"),
    "node": (typesgen.NodeResponse, "nodes"),
    "gpu": (typesgen.GPUResponse, "gpus"),
}
ONES = {"model": typesgen.Model, "node": typesgen.Node, "gpu": typesgen.GPU}
ID = {"model": "acme/llm", "node": "my-node", "gpu": "chip-one"}
BODY = {"model": MODEL, "node": NODE, "gpu": GPU}


@pytest.fixture(scope="module")
def quiet(tmp_path_factory) -> Here:
    """A server on which nothing is changed."""
    return records_here(tmp_path_factory.mktemp("quiet"))


@pytest.fixture(scope="module")
def reader(quiet) -> Asker:
    return quiet.asker("reader", "read")


@pytest.fixture
def here(tmp_path) -> Here:
    return records_here(tmp_path)


@pytest.fixture
def acme(here) -> Asker:
    return here.asker("acme")


def all_of(ask: Asker, kind: str, **params: object) -> list[dict[str, object]]:
    """Every page of a listing, checked against the client's types."""
    path, found = f"/{kind}", []
    shape, name = LISTS[kind]
    response = ask("GET", path, **params)
    while True:
        assert response.status_code == 200, response.text
        shape.model_validate_json(response.content)
        found += response.json()[name]
        link = response.headers.get("link")
        if link is None:
            assert len(found) == int(response.headers["x-total-count"])
            return found
        following = re.fullmatch(r'<(/.+)>; rel="next"', link)
        assert following is not None
        response = ask("GET", following[1])


# --- packaged records -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LISTS)
def test_every_packaged_record_fits_the_client_s_types(reader, kind):
    found = all_of(reader, kind)
    ids = [str(record["id"]) for record in found]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    own = getattr(record_schemas, {"model": "Model", "node": "Node", "gpu": "GPU"}[kind])
    for record in found:
        assert own.model_validate(record).model_dump(mode="json").keys() == record.keys()
        assert (record["customer_id"], record["created_by"]) == (0, "inferprint")
        assert str(record["created_at"]).startswith(PACKAGED.version.split("+")[0])


def test_what_a_shape_cannot_hold_is_counted_and_told(reader):
    response = reader("GET", "/gpu", limit=1)
    missing = [gpu.id for gpu in PACKAGED.gpus.values() if gpu.max_power_w is None]
    assert missing
    assert int(response.headers["x-omitted-count"]) == len(missing)
    assert int(response.headers["x-total-count"]) == len(PACKAGED.gpus) - len(missing)
    response = reader("GET", f"/gpu/{missing[0]}")
    assert response.status_code == 404
    assert "max_power_w" in response.json()["message"]
    assert int(reader("GET", "/model").headers["x-omitted-count"]) == 0


def test_a_packaged_gpu(reader):
    found = typesgen.GPU.model_validate(reader("GET", "/gpu/H100 SXM5 80GB".replace(" SXM5 80GB", "_80gb_sxm")).json())
    h100, h200 = PACKAGED.gpus["h100_80gb_sxm"], PACKAGED.gpus["h200_141gb_sxm"]
    assert found.max_power_w == h100.max_power_w
    assert found.performance_ratio_to_h200 == h100.memory_bandwidth_gb_per_s / h200.memory_bandwidth_gb_per_s
    assert found.embodied_emissions_kgco2e == h100.embodied_kgco2e.value
    assert found.embodied_water_mlh2o == h100.embodied_water_l.value * 1000
    assert (found.ols_coefficient_gpu_count, found.ols_intercept) == (0, 0)
    assert reader("GET", "/gpu/h200_141gb_sxm").json()["performance_ratio_to_h200"] == 1


def test_a_gpu_whose_manufacture_is_unknown_has_what_estimates_assume(reader):
    known = sorted(gpu.embodied_kgco2e.value for gpu in PACKAGED.gpus.values() if gpu.embodied_kgco2e is not None)
    middle = (known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2
    assert PACKAGED.gpus["gaudi3"].embodied_kgco2e is None
    assert reader("GET", "/gpu/gaudi3").json()["embodied_emissions_kgco2e"] == pytest.approx(middle)


@pytest.mark.parametrize("name", ["aws-p5-48xlarge", "aws:p5.48xlarge", "AWS:P5.48xlarge"])
def test_a_packaged_node_by_any_of_its_names(reader, name):
    found = typesgen.Node.model_validate(reader("GET", f"/node/{name}").json())
    assert (found.id, found.cloud_id, found.cloud_instance_id) == ("aws-p5-48xlarge", "aws", "p5.48xlarge")
    assert (found.gpu_id, found.gpu_count) == ("h100_80gb_sxm", 8)


@pytest.mark.parametrize("name", ["llama-3.1-70b", "meta-llama/Llama-3.1-70B-Instruct", "meta-llama%2FLlama-3.1-70B"])
def test_a_packaged_model_by_any_of_its_names(reader, name):
    found = typesgen.Model.model_validate(reader("GET", f"/model/{name}").json())
    record = PACKAGED.models["llama-3.1-70b"]
    assert (found.id, found.total_params_billions) == (record.id, record.total_params_b)
    assert found.datatype == typesgen.DataType(record.native_precision)
    assert found.task == typesgen.Task.text_generation


def test_experts_of_a_packaged_model(reader):
    # Mixtral 8x7B: 46.7 billion, of which a token uses 12.9 with 2 of 8 experts.
    found = reader("GET", "/model/mixtral-8x7b").json()
    assert found["number_of_experts"] == 8
    assert found["params_per_expert_billions"] == pytest.approx((46.7 - 12.9) / 6, rel=0.01)
    assert reader("GET", "/model/llama-3.1-70b").json()["params_per_expert_billions"] is None


# --- filters and pages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", list(Family))
def test_families_by_value_and_as_the_client_sends_them(reader, family):
    by_value = all_of(reader, "model", family=family.value)
    assert by_value == all_of(reader, "model", family=str(family))
    assert by_value == all_of(reader, "model", family=f"Family.{family.name}")
    if family in (Family.llama, Family.claude, Family.gpt, Family.dall_e, Family.whisper, Family.stable_diffusion):
        assert by_value


def test_a_family_is_a_word_and_no_beginning_of_one(reader):
    gpt = {str(model["id"]) for model in all_of(reader, "model", family="gpt")}
    assert "gpt-oss-20b" in gpt
    assert "gpt-4o" in gpt
    assert not any(name.startswith(("gpt-neo", "gpt-j")) for name in gpt)
    llama = {str(model["id"]) for model in all_of(reader, "model", family="llama")}
    assert "llama-3.1-8b" in llama
    assert not any("llama" not in str(PACKAGED.models[name].family) + name for name in llama)
    assert all_of(reader, "model", family="no-such-family") == []


def test_nodes_by_cloud_instance_and_gpu(reader):
    aws = all_of(reader, "node", cloud="AWS")
    assert {node["cloud_id"] for node in aws} == {"aws"}
    (one,) = all_of(reader, "node", cloud="aws", instance="p5.48xlarge")
    assert one["id"] == "aws-p5-48xlarge"
    with_h100 = all_of(reader, "node", gpu="H100_80GB_SXM")
    assert {node["gpu_id"] for node in with_h100} == {"h100_80gb_sxm"}
    assert one in with_h100
    assert all_of(reader, "node", custom="true") == []
    assert len(all_of(reader, "node", custom="false")) == len(all_of(reader, "node"))
    assert all_of(reader, "node", service="aws-bedrock") == []


def test_pages_are_parts_of_the_whole(reader):
    whole = all_of(reader, "node")
    assert reader("GET", "/node", limit=7, offset=5).json()["nodes"] == whole[5:12]
    assert reader("GET", "/node", limit=7, offset=10_000).json()["nodes"] == []


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "offset=-1", "custom=perhaps", "instance=", "gpu=" + "x" * 201]
)
def test_parameters_that_cannot_be(reader, query):
    response = reader("GET", f"/node?{query}")
    assert response.status_code == 400
    typesgen.Error.model_validate_json(response.content)


@pytest.mark.parametrize(
    "kind, part, found",
    [
        ("model", "LLAMA-3.1-8", "llama-3.1-8b"),
        ("model", "meta-llama/Llama-3.1-8B", "llama-3.1-8b"),
        ("node", "p5.48", "aws-p5-48xlarge"),
        ("node", "aws-P5-48", "aws-p5-48xlarge"),
        ("gpu", "h100_80gb", "h100_80gb_sxm"),
        ("gpu", PACKAGED.gpus["h100_80gb_sxm"].name.upper(), "h100_80gb_sxm"),
    ],
)
def test_records_by_a_part_of_a_name(reader, kind, part, found):
    ids = [record["id"] for record in all_of(reader, kind, query=part)]
    assert found in ids
    assert len(ids) < len(all_of(reader, kind)) / 5
    assert all_of(reader, kind, query="no such name") == []


@pytest.mark.parametrize("kind", LISTS)
def test_a_part_has_1_to_200_letters(reader, kind):
    for part, status in (("", 400), ("x" * 201, 400), ("x" * 200, 200)):
        assert reader("GET", f"/{kind}", query=part).status_code == status


# --- own records ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LISTS)
def test_own_records_are_listed_alone_and_left_out(here, acme, kind):
    record = acme.made(kind)
    here.asker("operator", "admin").made(kind, id="of-the-operator")
    assert all_of(acme, kind, custom="true") == [record]
    assert all_of(acme, kind, custom="false") == [one for one in all_of(acme, kind) if one != record]
    assert all_of(acme, kind, custom="true", query=ID[kind][1:].upper()) == [record]
    assert all_of(acme, kind, custom="true", query="llama") == []


def test_an_own_model_is_found_by_name_and_alias(acme):
    record = acme.made("model", name="Support Bot", aliases=["helpdesk-latest"])
    for part in ("port bot", "DESK-L"):
        assert all_of(acme, "model", query=part, custom="true") == [record]


@pytest.mark.parametrize("kind", LISTS)
def test_the_life_of_a_record(here, acme, kind):
    created = acme("POST", f"/{kind}", BODY[kind])
    assert created.status_code == 201
    record = created.json()
    ONES[kind].model_validate_json(created.content)
    assert {name: record[name] for name in BODY[kind]} == BODY[kind]
    assert record["customer_id"] == here.owner_id(acme)
    assert record["created_by"] == here.keys.check(acme.token).key_id
    path = f"/{kind}/{quote(ID[kind], safe='')}"
    assert acme("GET", path).json() == record
    assert record in all_of(acme, kind)
    change = {"model": {"name": "New"}, "node": {"gpu_count": 4}, "gpu": {"name": "New"}}[kind]
    updated = acme("PUT", path, change)
    assert updated.status_code == 200
    ONES[kind].model_validate_json(updated.content)
    later = updated.json()
    assert later == record | change | {"updated_at": later["updated_at"]}
    assert later["updated_at"] > record["updated_at"]
    assert acme("GET", path).json() == later
    deleted = acme("DELETE", path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert acme("GET", path).status_code == 404
    assert acme("DELETE", path).status_code == 404


def test_fields_of_our_own_are_taken_and_not_shown(acme):
    assert "memory_gb" not in acme.made("gpu", memory_gb=64)
    assert "experts_per_token" not in acme.made("model", experts_per_token=2, active_params_billions=3)


def test_null_takes_a_value_away(acme):
    acme.made("node", use_life_years=4)
    assert acme("PUT", "/node/my-node", {"use_life_years": None}).json()["use_life_years"] is None
    response = acme("PUT", "/node/my-node", {"gpu_id": None})
    assert response.status_code == 400
    assert response.json()["details"]["field"] == "gpu_id"


@pytest.mark.parametrize("kind", LISTS)
def test_own_records_are_among_the_listed_and_others_never(here, acme, kind):
    before = len(all_of(acme, kind))
    acme.made(kind)
    other = here.asker("other")
    assert len(all_of(acme, kind)) == before + 1
    assert len(all_of(other, kind)) == before
    theirs, unknown = other("GET", f"/{kind}/{ID[kind]}"), here.asker("third")("GET", f"/{kind}/{ID[kind]}")
    assert (theirs.status_code, theirs.content) == (404, unknown.content)
    for method, body in (("PUT", {}), ("DELETE", None)):
        assert other(method, f"/{kind}/{ID[kind]}", body).status_code == 404


@pytest.mark.parametrize("id_", ["gpt-oss:mine", "acme/llm:70b", "a/b/c", "aliased/aliases", "Ünï code", "q?x#y"])
def test_ids_of_any_letters_have_a_path(acme, id_):
    acme.made("model", id=id_)
    encoded = quote(id_, safe="")
    assert acme("GET", f"/model/{encoded}").json()["id"] == id_
    assert acme("GET", f"/model/{quote(id_)}").json()["id"] == id_
    assert acme("PUT", f"/model/{encoded}", {"name": "x"}).status_code == 200
    assert acme("PUT", f"/model/{encoded}/alias", {"alias": "also/this:one"}).status_code == 204
    assert acme("GET", "/model/also/this:one").json()["aliases"] == ["also/this:one"]
    assert acme("DELETE", f"/model/{encoded}/alias/also%2Fthis%3Aone").status_code == 204
    assert acme("GET", f"/model/{encoded}").json()["aliases"] == []
    assert acme("DELETE", f"/model/{encoded}").status_code == 204


@pytest.mark.parametrize(
    "id_",
    [
        *("a/alias", "alias", "alias/a", "a/alias/b", "a/Alias/b", "/a", "a/", "a//b", ".", "a/../b", "{modelId}", ""),
        *("a\nb", " a", "a ", "a\x00", "a\u202eb", "x" * 201),
    ],
)
def test_ids_to_which_no_path_leads_are_refused(acme, id_):
    response = acme("POST", "/model", {**MODEL, "id": id_})
    assert response.status_code == 400
    assert response.json()["details"]["field"] == "id"


@pytest.mark.parametrize(
    "method, path, allowed",
    [
        ("GET", "a/alias", "PUT"),
        ("DELETE", "a/alias", "PUT"),
        ("GET", "a/b/alias/c", "DELETE"),
        ("PUT", "a/alias/c/d", "DELETE"),
    ],
)
def test_paths_of_aliases_are_none_of_models(acme, method, path, allowed):
    response = acme(method, f"/model/{path}", {} if method == "PUT" else None)
    assert (response.status_code, response.headers["allow"]) == (405, allowed)


def test_null_is_no_alias(acme):
    assert acme.made("model", aliases=None)["aliases"] == []


def test_parameters_are_given_once(reader):
    response = reader("GET", "/node?cloud=aws&cloud=gcp")
    assert (response.status_code, response.json()["details"]["field"]) == (400, "cloud")


# --- the client -------------------------------------------------------------------------------------------------------


class Own(Client):
    """scope3ai's client on the server in this process."""

    def __init__(self, here: Here, token: str) -> None:
        super().__init__(api_key=token, api_url="http://testserver")
        here.client.headers["Authorization"] = f"Bearer {token}"
        self._client = here.client


@pytest.fixture
def client(here) -> Own:
    return Own(here, here.asker("acme").token)


def test_the_client_lists_and_creates(client):
    assert len(client.list_models().models) == 100
    assert client.list_models(family=Family.dall_e).models
    gpu = client.create_gpu(GPUCreateRequest(**GPU))
    node = client.create_node(NodeCreateRequest(**{**NODE, "gpu_id": gpu.id}))
    model = client.create_model(ModelCreateRequest(**MODEL, aliases=["ours"]))
    assert client.list_nodes(custom=True).nodes == [node]
    assert client.list_nodes(gpu=gpu.id).nodes == [node]
    assert gpu in client.list_gpus().gpus
    found = client.execute_request(f"/model/{model.id}", response_model=typesgen.Model)
    assert found == model


@pytest.mark.parametrize(
    "command, arguments",
    [
        ("get_model", ("acme/llm",)),
        ("update_model", ("acme/llm", ModelUpdateRequest(name="x"))),
        ("delete_model", ("acme/llm",)),
        ("add_model_alias", ("acme/llm", {"alias": "x"})),
        ("remove_model_alias", ("acme/llm", "x")),
        ("get_node", ("my-node",)),
        ("update_node", ("my-node", NodeUpdateRequest(gpu_count=1))),
        ("delete_node", ("my-node",)),
        ("get_gpu", ("chip-one",)),
        ("update_gpu", ("chip-one", GPUUpdateRequest(name="x"))),
        ("delete_gpu", ("chip-one",)),
    ],
)
def test_the_client_s_placeholders_are_explained(here, client, command, arguments):
    answers = []
    here.client.event_hooks["response"].append(answers.append)
    with pytest.raises(Exception, match="404"):
        getattr(client, command)(*arguments)
    error = typesgen.Error.model_validate_json(answers[0].read())
    assert error.code == "placeholder"
    assert "placeholder" in error.message
    assert error.details is not None
    assert "execute_request" in error.details.reason


# --- the description --------------------------------------------------------------------------------------------------


def test_the_description_names_every_endpoint(here):
    paths = here.app.openapi()["paths"]
    assert {(path, method) for path, item in paths.items() for method in item} == {
        *((f"/{kind}", method) for kind in LISTS for method in ("get", "post")),
        *((f"/{kind}/{{{kind}Id}}", method) for kind in LISTS for method in ("get", "put", "delete")),
        ("/model/{modelId}/alias", "put"),
        ("/model/{modelId}/alias/{alias}", "delete"),
    }
    for item in paths.values():
        for operation in item.values():
            assert {"400", "401", "403", "429", "503"} <= operation["responses"].keys()


@pytest.mark.parametrize("name", ["Model", "Node", "GPU", "ModelResponse", "NodeResponse", "GPUResponse"])
def test_answers_have_the_fields_of_the_client_s_types(name):
    theirs, ours = getattr(typesgen, name), getattr(record_schemas, name)
    assert theirs.model_fields.keys() == ours.model_fields.keys()
    assert ours.model_config["extra"] == "forbid"


@pytest.mark.parametrize("kind", ["Model", "Node", "GPU"])
@pytest.mark.parametrize("what", ["CreateRequest", "UpdateRequest"])
def test_requests_take_what_the_client_s_types_send(kind, what):
    theirs, ours = getattr(typesgen, kind + what), getattr(record_schemas, kind + what)
    assert theirs.model_fields.keys() <= ours.model_fields.keys()
    for name, field in theirs.model_fields.items():
        assert field.is_required() == ours.model_fields[name].is_required(), name


def test_words_of_the_api_are_all_there():
    assert set(record_schemas.TaskName.__args__) == {task.value for task in typesgen.Task}
    assert set(record_schemas.DataType.__args__) == {kind.value for kind in typesgen.DataType}
