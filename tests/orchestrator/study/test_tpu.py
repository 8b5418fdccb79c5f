"""What is a TPU type, and what may a trial ask of it? Held against Ray's rules for all that Ray allows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError
from ray._private.accelerators import tpu as rays
from ray.util.tpu import get_tpu_worker_resources

from orchestrator.study.canonical import canonical
from orchestrator.study.resources import Resources
from orchestrator.study.spec import StudySpec
from orchestrator.study.tpu import GENERATIONS, known, parse
from tests.faults.world import small_study

TOPOLOGIES = [(g, topology) for g, allowed in rays.VALID_TPU_TOPOLOGY.items() for topology in sorted(allowed)]


def test_every_generation_is_one_of_rays() -> None:
    assert sorted(GENERATIONS) == sorted(rays.VALID_TPU_TYPES)


@pytest.mark.parametrize("generation", sorted(rays.VALID_TPU_TOPOLOGY))
def test_each_size_is_what_ray_says(generation: str) -> None:
    for topology in sorted(rays.VALID_TPU_TOPOLOGY[generation]):
        name = rays.infer_tpu_pod_type_from_topology(topology, generation)
        assert name is not None
        tpu = parse(name)
        hosts, each = get_tpu_worker_resources(topology, generation)
        if topology in ("2x2x1", "1x1", "2x2", "2x4"):
            assert tpu.hosts == 1
        assert (tpu.name, tpu.generation.cores) == (name, rays.get_tpu_cores_per_chip(name))
        assert tpu.chips == rays.get_num_chips_from_topology(topology)
        assert tpu.chips == rays.get_total_chips_from_accelerator_type(name)
        assert tpu.chips_a_host == rays.get_num_tpu_visible_chips_per_host(name)
        assert (tpu.hosts, tpu.chips_a_host) == (hosts, each["TPU"])


@pytest.mark.parametrize(
    ("name", "facts"),
    [  # chips, hosts, chips a host, devices of JAX, GiB a chip: from Google's pages on each generation
        ("v2-8", (4, 1, 4, 8, 16)),
        ("v3-16", (8, 2, 4, 16, 32)),
        ("v4-16", (8, 2, 4, 8, 32)),
        ("v5litepod-8", (8, 1, 8, 8, 16)),
        ("v5litepod-16", (16, 4, 4, 16, 16)),
        ("v5p-8", (4, 1, 4, 4, 95)),
        ("v6e-1", (1, 1, 1, 1, 32)),
        ("v6e-16", (16, 4, 4, 16, 32)),
        ("v7x-16", (8, 2, 4, 16, 192)),
    ],
)
def test_what_a_type_is(name: str, facts: tuple[int, ...]) -> None:
    tpu = parse(name)
    assert (tpu.chips, tpu.hosts, tpu.chips_a_host, tpu.devices, tpu.generation.gib) == facts
    assert tpu.head == f"TPU-{name}-head"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("v3", "'v3' is no type of TPU. Allowed are a generation and a size, "),
        ("v5e-16", "'v5e-16' is no type of TPU. Did you mean 'v5litepod'?"),
        ("tpu7x-16", "'tpu7x-16' is no type of TPU. Did you mean 'v7x'?"),
        ("v5lite-16", "'v5lite-16' is no type of TPU. Did you mean 'v5litepod'?"),
        ("V3-16", "Allowed are a generation and a size, as Google and Ray write them, such as v3-16."),
        ("h200", "The generations: v2, v3, v4, v5litepod, v5p, v6e, v7x."),
        ("v3-12", "Allowed sizes of v3 are multiples of 8 cores, since a host has 4 chips."),
        ("v3-0", "is no type of TPU"),
        ("v6e-12", "Allowed sizes of v6e are 1, 4, 8, 16, 32, 64, 128, 256 chips."),
    ],
)
def test_a_name_that_is_none_says_what_is_allowed(name: str, said: str) -> None:
    with pytest.raises(ValueError, match="is no type of TPU") as caught:
        parse(name)
    assert said in str(caught.value)
    assert known(name) is None


def _refusal(**asked: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Resources(**asked)
    (error,) = caught.value.errors()
    return str(error["msg"]).removeprefix("Value error, ")


@pytest.mark.parametrize(
    ("asked", "devices"),
    [
        ({}, None),
        ({"hosts": 2}, None),
        ({"gpus": 0.25}, 1),
        ({"gpus": 4, "hosts": 2}, 8),
        ({"tpu_chips": 4}, None),  # one each or two: the type says it
        ({"tpu_chips": 4, "tpu_type": "v3-8"}, 8),
        ({"tpu_chips": 2, "tpu_type": "v3-8"}, 4),
        ({"tpu_chips": 8, "tpu_type": "v6e-8"}, 8),
        ({"tpu_chips": 4, "hosts": 2, "tpu_type": "v3-16"}, 16),
        ({"tpu_chips": 4, "hosts": 4, "tpu_type": "v6e-16"}, 16),
    ],
)
def test_what_a_trial_may_ask_for_and_how_many_devices_that_is(
    asked: dict[str, Any], devices: int | None
) -> None:
    assert Resources(**asked).devices == devices


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"tpu_chips": 3}, "resources.tpu_chips is 3. Allowed of a host are 1, 2, 4 or 8 chips."),
        (
            {"tpu_type": "v3-16", "tpu_chips": 4},
            "resources have tpu_type 'v3-16', hosts 1 and tpu_chips 4. A v3-16 is 2 hosts of 4 chips, and a "
            "trial takes the whole slice: set hosts: 2 and tpu_chips: 4.",
        ),
        (
            {"tpu_type": "v3-16", "tpu_chips": 2, "hosts": 2},
            "resources have tpu_type 'v3-16', hosts 2 and tpu_chips 2. A v3-16 is 2 hosts of 4 chips, and a "
            "trial takes the whole slice: set hosts: 2 and tpu_chips: 4.",
        ),
        (
            {"tpu_type": "v3-16"},
            "resources.tpu_type is 'v3-16', and tpu_chips is not set. A v3-16 is 2 hosts of 4 chips: add "
            "hosts: 2 and tpu_chips: 4.",
        ),
        (
            {"tpu_type": "v3-8", "tpu_chips": 8},
            "resources have tpu_type 'v3-8', hosts 1 and tpu_chips 8. A v3-8 is one host of 4 chips. Allowed "
            "are hosts: 1, and 1, 2 or 4 of its chips.",
        ),
        (
            {"tpu_type": "v3-8", "tpu_chips": 4, "hosts": 2},
            "resources have tpu_type 'v3-8', hosts 2 and tpu_chips 4. A v3-8 is one host of 4 chips. Allowed "
            "are hosts: 1, and 1, 2 or 4 of its chips.",
        ),
        (
            {"tpu_chips": 4, "hosts": 2},
            "resources.hosts is 2 with 4 TPU chips each, and no tpu_type. TPUs of several hosts are given as "
            "one whole slice: add its type, such as tpu_type: v3-16 with hosts: 2 and tpu_chips: 4.",
        ),
        (
            {"gpus": 1, "tpu_chips": 4},
            "resources have gpus 1 and tpu_chips 4. Allowed is one kind of accelerator a trial: leave one "
            "out.",
        ),
        (
            {"gpus": 0.5, "hosts": 2},
            "resources.hosts is 2 and resources.gpus is 0.5: hosts × shares of a GPU. Allowed on several "
            "hosts are whole GPUs. Set gpus to 1, or hosts to 1.",
        ),
    ],
)
def test_what_no_host_can_give_is_refused(asked: dict[str, Any], said: str) -> None:
    assert _refusal(**asked) == said


def test_a_type_that_is_none_is_refused_by_its_key() -> None:
    assert _refusal(tpu_type="v5e-8", tpu_chips=8).startswith(
        "resources.tpu_type: 'v5e-8' is no type of TPU."
    )


def test_what_a_ledger_holds_from_before_is_read_and_takes_no_slice() -> None:
    for asked in ({"tpu_chips": 3, "hosts": 2}, {"tpu_type": "x", "tpu_chips": 4, "hosts": 2}):
        stored = Resources.model_validate(asked, context="stored")
        assert (stored.tpu, stored.slice, stored.devices) == (None, None, None)


def test_a_study_of_before_is_read_with_the_hash_that_it_had() -> None:
    spec = json.loads(canonical(small_study()))
    spec["resources"] |= {"hosts": 2, "gpus": 0.5, "tpu_chips": 3}
    stored = StudySpec.stored(spec)
    assert json.loads(canonical(stored)) == spec
    with pytest.raises(ValidationError, match="Allowed is one kind of accelerator a trial"):
        StudySpec.model_validate(spec)


def test_in_words_a_slice_is_whole_and_a_part_is_of_its_type() -> None:
    assert Resources(cpus=8, tpu_type="v3-16", tpu_chips=4, hosts=2).words == (
        "a whole v3-16 slice (2 hosts, each with 8 CPUs, 4 TPU chips)"
    )
    assert Resources(tpu_type="v3-8", tpu_chips=2).words == "1 CPU, 2 TPU chips of a v3-8"
    assert Resources(tpu_chips=1).words == "1 CPU, 1 TPU chip"
