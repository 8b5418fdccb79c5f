"""Studies over HTTP: created once, listed by pages, steered by requests, deleted with their files."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from orchestrator.api.deps import cursor
from orchestrator.ledger.records import StudyState
from orchestrator.readings.overview import overview
from tests.orchestrator.api.conftest import Make, Said, Service, spec

STUDIES = "/api/v1/studies"


# -- create ----------------------------------------------------------------------------------------------
def test_a_new_study_is_created_and_an_equal_one_attached_to_on_request(service: Service) -> None:
    first = service.ask("POST", STUDIES, {"spec": spec()})
    assert (first.status, first.json["created"], first.json["study"]) == (201, True, "small")
    assert first.headers["location"] == f"{STUDIES}/{first.json['study_id']}"
    again = service.ask("POST", STUDIES, {"spec": spec(), "attach": True})
    assert (again.status, again.json["attached"]) == (200, True)
    assert again.json["study_id"] == first.json["study_id"]
    other = service.ask("POST", STUDIES, {"spec": spec(replicates=2), "attach": True})
    assert (other.status, other.json["study_id"]) == (409, first.json["study_id"])


def test_a_preset_is_created_with_its_changes(make: Make) -> None:
    service = make()
    service.led = False  # it would train
    preset = {
        "name": "bo-vs-guided",
        "size": "smoke",
        "replicates": 2,
        "search": "random",
        "set": {"optimizer.beta": 1},
    }
    said = service.ask("POST", STUDIES, {"preset": preset, "name": "mine"})
    assert said.status == 422
    assert "Unknown key" in said.json["detail"]
    preset["set"] = {"optimizer.beta1": 0.8}
    said = service.ask("POST", STUDIES, {"preset": preset, "name": "mine"})
    assert said.status == 201, said.body
    made = service.ask("GET", f"{STUDIES}/mine").json["spec"]
    assert (made["name"], made["replicates"]) == ("mine", 2)
    assert made["base"]["optimizer"]["beta1"] == 0.8
    assert "gp" not in {arm["method"] for arm in made["arms"]}


def test_finetuning_takes_rows_and_metrics_and_other_presets_say_that_they_do_not(
    make: Make, tmp_path: Path
) -> None:
    service = make()
    service.led = False  # it would train
    rows = tmp_path / "reviews.tsv"
    rows.write_text("good\tyes\nbad\tno\n" * 4)
    begun = {"task": "files", "path": str(rows), "prefix": "review: ", "metrics": ["macro-f1"]}
    preset = {"name": "finetuning", "size": "smoke", **begun}
    planned = service.ask("POST", "/api/v1/plans", {"preset": preset})
    assert planned.status == 200, planned.body
    assert any("other rows change them" in note for note in planned.json["notes"])
    said = service.ask("POST", STUDIES, {"preset": preset, "name": "mine"})
    assert said.status == 201, said.body
    made = service.ask("GET", f"{STUDIES}/mine").json["spec"]
    assert made["base"]["data"] == {"task": "files", "path": str(rows), "prefix": "review: "}
    assert made["base"]["score"]["metrics"] == ["macro-f1"]
    refused = service.ask("POST", STUDIES, {"preset": {**preset, "name": "eta-sweep"}})
    assert refused.status == 422
    assert refused.json["detail"].startswith(
        "eta-sweep takes no task and no path and no prefix and no metrics. Allowed is the study finetuning."
    )


def test_what_costs_too_much_is_refused_before_it_is_written(service: Service) -> None:
    asked = {"preset": {"name": "bo-vs-guided", "size": "paper"}, "refuse_above": 1}
    for path in (STUDIES, "/api/v1/plans"):
        said = service.ask("POST", path, asked)
        assert said.status == 422
        assert "chip-hours" in said.json["detail"]
    assert service.store.studies() == []


def test_a_plan_is_what_the_study_will_run(service: Service) -> None:
    planned = service.ask("POST", "/api/v1/plans", {"spec": spec()})
    assert planned.status == 200
    assert planned.json["total"]["runs"] == 8
    assert planned.json["slots"] == 2
    assert service.store.studies() == []
    study = service.ran()
    assert overview(service.store, study).ended == planned.json["total"]["runs"]


def test_a_plan_says_what_the_claims_pairs_can_show(service: Service) -> None:
    assert service.ask("POST", "/api/v1/plans", {"spec": spec()}).json["claim"] is None
    claim = {"text": "x", "challenger": "random", "incumbent": "base"}
    margin = {"kind": "non-inferiority", "time_margin": 0.03}
    said = service.ask("POST", "/api/v1/plans", {"spec": spec(claim={**claim, **margin})}).json["claim"]
    assert (said["kind"], said["pairs"], said["fewest"], said["effect"]) == ("non-inferiority", 0, 5, None)
    assert said["needed"]["1.5"] == 6
    assert said["sentence"].startswith("Claim of non-inferiority: 0 paired seeds; fewer than 5 can never")


def test_a_plan_says_what_a_setting_leaves(service: Service) -> None:
    preset = {"name": "beta1-inits", "size": "smoke"}
    before = service.ask("POST", "/api/v1/plans", {"preset": preset}).json
    changes = {"steps": 80, "model.size": "tiny", "batch.sentences": 8, "optimizer.beta1": 0.8}
    said = service.ask("POST", "/api/v1/plans", {"preset": {**preset, "set": changes}}).json
    assert said["total"]["run_hours"] == pytest.approx(2 * before["total"]["run_hours"])
    assert said["wall_hours"] == pytest.approx(2 * before["wall_hours"])
    beta1, steps, doubt = said["notes"]
    assert beta1.startswith("optimizer.beta1=0.8 reaches ")
    assert steps.startswith("steps goes from 40 to 80, and the planned hours with it.")
    assert "setting batch.sentences may change them" in doubt


def test_a_setting_that_reaches_no_arm_is_refused(service: Service) -> None:
    asked = {"preset": {"name": "estimators", "size": "smoke", "set": {"steps": 80}}}
    for path in (STUDIES, "/api/v1/plans"):
        said = service.ask("POST", path, asked)
        assert said.status == 422
        assert "steps=80 would change nothing" in said.json["detail"]
    assert service.store.studies() == []


def _at_once(service: Service, count: int, **headers: str) -> list[Said]:
    async def all_of_them() -> list[Said]:
        asked = (service.ask.ask("POST", STUDIES, {"spec": spec()}, **headers) for _ in range(count))
        return await asyncio.gather(*asked)

    return service.ask.runner.run(all_of_them())


@pytest.mark.fault(14)
def test_of_fifty_creations_of_one_name_one_succeeds_and_the_others_learn_of_it(service: Service) -> None:
    said = _at_once(service, 50)
    assert sorted(each.status for each in said) == [201] + [409] * 49
    assert len({each.json["study_id"] for each in said}) == 1
    assert len(service.store.studies()) == 1


@pytest.mark.fault(14)
def test_fifty_creations_with_one_key_are_answered_alike(service: Service) -> None:
    said = _at_once(service, 50, idempotency_key="one")
    assert {(each.status, each.body) for each in said} == {(201, said[0].body)}
    assert len(service.store.studies()) == 1


def test_a_key_is_for_one_request_of_one_caller(service: Service) -> None:
    ada, bob = (service.ask.by(service.token("run", name=name)) for name in ("ada", "bob"))
    first = ada("POST", STUDIES, {"spec": spec()}, idempotency_key="k")
    service.place.clock.advance(10)
    assert ada("POST", STUDIES, {"spec": spec()}, idempotency_key="k").body == first.body
    other = ada("POST", STUDIES, {"spec": spec(name="other")}, idempotency_key="k")
    assert (other.status, other.json["type"]) == (422, "urn:orch:key-used")
    assert bob("POST", STUDIES, {"spec": spec(name="bobs")}, idempotency_key="k").status == 201
    assert bob("POST", STUDIES, {"spec": spec()}, idempotency_key="k2").status == 409  # and no key is kept:
    assert bob("POST", STUDIES, {"spec": spec(name="third")}, idempotency_key="k2").status == 201


# -- look ------------------------------------------------------------------------------------------------
def test_a_study_is_shown_as_the_command_line_shows_it(service: Service) -> None:
    study = service.ran()
    by_name, by_id = (service.ask("GET", f"{STUDIES}/{key}") for key in (study.name, study.study_id))
    assert by_name.json == by_id.json
    view = overview(service.store, study)
    assert view.to_dict().items() <= by_id.json.items()
    assert by_id.json["spec"] == study.spec
    assert service.ask("GET", f"{STUDIES}/small/arms").json["items"] == by_id.json["arms"]


def test_pages_of_studies_are_whole_also_while_new_ones_are_created(service: Service) -> None:
    for number in range(7):
        service.created(name=f"s{number}")
        service.place.clock.advance(1)
    seen, cursor = [], ""
    while cursor is not None:
        page = service.ask("GET", f"{STUDIES}?limit=3{cursor and f'&cursor={cursor}'}").json
        seen += [item["study"] for item in page["items"]]
        cursor = page["next"]
        service.created(name=f"new{len(seen)}")
        service.place.clock.advance(1)
    assert seen == [f"s{number}" for number in reversed(range(7))]
    assert service.ask("GET", f"{STUDIES}?name=new").json["items"][0]["study"] == "new7"
    assert service.ask("GET", f"{STUDIES}?state=cancelled").json == {"items": [], "next": None}


def test_a_list_counts_as_a_study_alone_does(service: Service) -> None:
    study = service.ran(replicates=2).study_id
    service.ask("POST", f"{STUDIES}/{study}/extend", {"arms": {"base": 3}})
    service.created(name="new", replicates=3)
    for line in service.ask("GET", STUDIES).json["items"]:
        alone = service.ask("GET", f"{STUDIES}/{line['study']}").json
        assert line.pop("answer") is None  # neither has completed
        assert {key: alone[key] for key in line} == line


def test_a_list_asks_as_often_however_many_studies_are_in_it(make: Make) -> None:
    service, asked = make("sqlite"), Counter[str]()
    event.listen(Engine, "before_cursor_execute", tell := lambda c, _, sql, *__: asked.update([sql]))
    try:
        for number in range(3):
            service.created(name=f"s{number}")
            asked.clear()
            assert len(service.ask("GET", STUDIES).json["items"]) == number + 1
            assert asked.total() <= 3
    finally:
        event.remove(Engine, "before_cursor_execute", tell)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("sate=running", "Nothing is known of ?sate=. Did you mean 'state'? "),
        ("cursor=abc", "The cursor 'abc' is none of ours. "),
        ("cursor=WzEsMl0", "The cursor 'WzEsMl0' is none of ours. "),
        (f"cursor={cursor(float('nan'), 's1')}", "The cursor "),
        (f"cursor={cursor(float('inf'), 's1')}", "The cursor "),
        (f"cursor={cursor(1.0, 'a' + chr(0))}", "The cursor "),
        (f"cursor={cursor(1.0, chr(0xD800))}", "The cursor "),
        ("limit=0", "limit is '0': "),
    ],
)
def test_a_query_that_is_not_understood_is_refused(service: Service, query: str, sentence: str) -> None:
    said = service.ask("GET", f"{STUDIES}?{query}")
    assert (said.status, said.headers["content-type"]) == (422, "application/problem+json")
    assert said.json["detail"].startswith(sentence)


def test_a_name_that_is_not_there_names_the_nearest(service: Service) -> None:
    service.created()
    said = service.ask("GET", f"{STUDIES}/smal")
    assert (said.status, said.json["type"]) == (404, "urn:orch:not-found")
    assert "Did you mean 'small'?" in said.json["detail"]


# -- steer -----------------------------------------------------------------------------------------------
def test_pause_and_resume_are_obeyed_by_whoever_leads(service: Service) -> None:
    study = service.created()
    paused = service.ask("POST", f"{STUDIES}/{study}/pause")
    assert (paused.status, paused.json["verb"], paused.json["answer"]) == (202, "pause", "")
    assert paused.json["asked_by"] == "local key"
    assert service.ask("GET", f"{STUDIES}/{study}").json["status"] == "pausing"
    assert service.ask("POST", f"{STUDIES}/{study}/resume").json["answer"] == ""
    assert [w["verb"] for w in service.ask("GET", f"{STUDIES}/{study}/requests").json["items"]] == [
        "pause",
        "resume",
    ]


def test_a_study_is_drained_and_listed_as_such(service: Service) -> None:
    study = service.created()
    service.engine.tick()
    said = service.ask("POST", f"{STUDIES}/{study}/drain")
    assert (said.status, said.json["verb"], said.json["answer"]) == (202, "drain", "")
    assert service.ask("GET", f"{STUDIES}/{study}").json["status"] == "draining"
    assert [s["study_id"] for s in service.ask("GET", f"{STUDIES}?state=draining").json["items"]] == [study]
    assert service.ask("GET", f"{STUDIES}?state=drained").json["items"] == []
    while service.store.live_attempts():
        service.place.step(service.engine)
    assert [s["status"] for s in service.ask("GET", f"{STUDIES}?state=drained").json["items"]] == ["drained"]
    assert service.ask("POST", f"{STUDIES}/{study}/resume").json["answer"] == ""
    service.place.drive(service.engine, study)
    assert service.ask("POST", f"{STUDIES}/{study}/drain").status == 409


def test_one_request_is_read_by_its_id(service: Service) -> None:
    study, other = service.created(), service.created(name="other")
    paused = service.ask("POST", f"{STUDIES}/{study}/pause").json
    path = f"requests/{paused['request_id']}"
    assert service.ask("GET", f"{STUDIES}/{study}/{path}").json == paused
    assert service.ask("GET", f"{STUDIES}/small/{path}").json == paused
    for missing in (f"{other}/{path}", f"{study}/requests/99"):
        said = service.ask("GET", f"{STUDIES}/{missing}")
        assert (said.status, said.json["type"]) == (404, "urn:orch:not-found")
        assert "lists them" in said.json["detail"]


def test_the_older_name_of_requests_still_answers(service: Service) -> None:
    study = service.created()
    service.ask("POST", f"{STUDIES}/{study}/pause")
    (new,) = service.ask("GET", f"{STUDIES}/{study}/requests").json["items"]
    (old,) = service.ask("GET", f"{STUDIES}/{study}/wishes").json["items"]
    assert new == {"request_id": old["wish_id"], **old}
    paths = service.ask("GET", "/api/v1/openapi.json").json["paths"]
    deprecated = [path for path, verbs in paths.items() if verbs.get("get", {}).get("deprecated")]
    assert deprecated == ["/api/v1/studies/{study}/wishes"]


def test_what_is_refused_at_once_is_not_stored(service: Service) -> None:
    study = service.created()
    said = service.ask("POST", f"{STUDIES}/{study}/extend", {"arms": {"rendom": 1}})
    assert (said.status, said.json["type"]) == (404, "urn:orch:not-found")
    assert "Did you mean 'random'" in said.json["detail"]
    service.ask("POST", f"{STUDIES}/{study}/cancel")
    assert service.ask("POST", f"{STUDIES}/{study}/pause").status == 409
    found = service.ask("GET", f"{STUDIES}/{study}/requests").json["items"]
    assert [each["verb"] for each in found] == ["cancel"]


def test_a_request_stands_while_nobody_leads(make: Make) -> None:
    service = make()
    study = service.created()
    service.led = False
    said = service.ask("POST", f"{STUDIES}/{study}/cancel")
    assert (said.status, said.json["answer"]) == (202, None)
    service.engine.tick()
    assert service.store.study(study).state is StudyState.CANCELLED


def test_what_the_state_of_things_forbids_is_a_conflict(service: Service) -> None:
    study = service.ran().study_id
    said = service.ask("POST", f"{STUDIES}/{study}/cancel")
    assert (said.status, said.json["type"]) == (409, "urn:orch:refused")
    assert said.json["detail"] == "The study small is completed; there is nothing left to cancel."


def test_an_extension_is_checked_and_granted(service: Service) -> None:
    study = service.created()
    path = f"{STUDIES}/{study}/extend"
    assert service.ask("POST", path, {"arms": {"nobody": 1}}).status == 404
    for arms in ({"grid": 1}, {"random": 0}, {"random": "2"}, {"random": True}, {}):
        assert service.ask("POST", path, {"arms": arms}).status == 422
    for asked in ({}, {"seeds": 0}, {"seeds": 2}, {"seeds": 2, "arms": {"random": 1}}, {"arm": "random"}):
        assert service.ask("POST", path, asked).status == 422  # the study has no claim
    seeds = service.ask("POST", path, {"seeds": 2, "arm": "random"})
    assert (seeds.json["answer"], seeds.json["detail"]) == ("", {"confirm": 2})
    assert service.ask("POST", path, {"arms": {"random": 2}}).json["answer"] == ""
    (line,) = (a for a in service.ask("GET", f"{STUDIES}/{study}/arms").json["items"] if a["arm"] == "random")
    assert line["requested"] == 5


# -- delete ----------------------------------------------------------------------------------------------
def test_only_an_ended_study_is_deleted_and_its_files_with_it(service: Service) -> None:
    study = service.created()
    said = service.ask("DELETE", f"{STUDIES}/{study}")
    assert (said.status, said.json["type"]) == (409, "urn:orch:refused")
    service.place.drive(service.engine, study)
    other = service.ran(name="other")
    folder = service.parts.settings.runs
    assert {f.name for f in folder.iterdir()} == {study, other.study_id}
    assert service.ask("DELETE", f"{STUDIES}/{study}").status == 204
    assert {f.name for f in folder.iterdir()} == {other.study_id}
    assert service.ask("GET", f"{STUDIES}/{study}").status == 404
    assert service.ask("DELETE", f"{STUDIES}/{study}").status == 404
    assert [line["study"] for line in service.ask("GET", STUDIES).json["items"]] == ["other"]
    assert service.created() != study  # its name is free again


def test_a_deletion_that_nobody_obeys_yet_is_done_later(make: Make) -> None:
    service = make()
    study = service.ran().study_id
    service.led = False
    said = service.ask("DELETE", f"{STUDIES}/{study}")
    assert (said.status, said.json["answer"]) == (202, None)
    service.ask("POST", f"{STUDIES}/{study}/cancel")  # asked of what will be gone by then
    service.engine.tick()
    assert service.store.studies() == []
    assert service.store.open_wishes() == []
